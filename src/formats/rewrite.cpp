// SPDX-License-Identifier: Apache-2.0
// The walk of rewrite.hpp.
#include "formats/rewrite.hpp"

#include <set>

#include "formats/text.hpp"

namespace billfish::formats {

const Layer* Rewrite::layer_at(const Tensor& tensor) const {
  const auto found = taken_.find(&tensor);
  if (found == taken_.end() || !found->second) return nullptr;
  return found->second->part(Role::codes)->place.tensor == &tensor ? found->second : nullptr;
}

Status Rewrite::write_layer(const Layer& layer, TensorWriter&) {
  return {Code::internal, text("layer ", quote(layer.info.name), " was taken by a conversion that writes none")};
}

Status Rewrite::write(const std::string& out) {
  StagedOutput output;
  TensorWriter writer(output);
  for (std::size_t s = 0; s < model_.shards.size(); ++s) BILLFISH_RETURN_IF_ERROR(plan_file(s, writer));
  BILLFISH_RETURN_IF_ERROR(begin(output, out));
  BILLFISH_RETURN_IF_ERROR(writer.create_all());
  Progress progress{options_.progress, options_.user, 0, total_bytes(model_)};
  BILLFISH_RETURN_IF_ERROR(take_up(writer, progress));
  for (std::size_t s = 0; s < model_.shards.size(); ++s) BILLFISH_RETURN_IF_ERROR(write_shard(s, writer, progress));
  BILLFISH_RETURN_IF_ERROR(writer.finish());
  if (output.is_directory()) BILLFISH_RETURN_IF_ERROR(write_texts(output, writer, progress));
  return output.commit();
}

Status Rewrite::write_shard(std::size_t shard, TensorWriter& writer, Progress& progress) {
  BILLFISH_RETURN_IF_ERROR(write_first(shard, writer, progress));
  for (const Tensor& tensor : model_.shards[shard].header.tensors) {
    if (!is_taken(tensor)) {
      BILLFISH_RETURN_IF_ERROR(writer.copy(tensor.name, model_, {shard, &tensor}, progress));
    } else if (const Layer* layer = layer_at(tensor)) {
      BILLFISH_RETURN_IF_ERROR(about_layer(write_layer(*layer, writer), layer->info.name));
      for (const Part& part : layer->parts) model_.drop(part.place);
      BILLFISH_RETURN_IF_ERROR(progress.advance(layer->info.name, layer->info.bytes));
    }
  }
  return {};
}

Status Rewrite::write_texts(StagedOutput& output, const TensorWriter& writer, Progress& progress) const {
  std::set<std::string> written;
  for (const Shard& shard : model_.shards) written.insert(shard.name);
  for (std::string& name : outdated_configs()) written.insert(std::move(name));
  std::vector<WrittenConfig> texts = new_configs();
  if (!model_.index_name.empty()) texts.push_back({model_.index_name, new_index(writer)});
  for (const WrittenConfig& made : texts) {
    BILLFISH_RETURN_IF_ERROR(output.write_text(made.name, made.content));
    written.insert(made.name);
  }
  // Beside a file that was named alone may lie anything.
  return model_.is_directory ? copy_other_files(model_, output, written, progress) : Status();
}

}  // namespace billfish::formats
