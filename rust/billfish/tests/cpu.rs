// SPDX-License-Identifier: Apache-2.0
//! Products, repacking and checkpoints on the CPU, against the arithmetic they stand for.
#![cfg(not(miri))] // calls the C library

use billfish::{
    build_marlin_perm, forget_plans, load_plans, repack_gptq_to_marlin, repack_gptq_to_marlin_bits, repack_scales_to_marlin,
};
use billfish::{Bf16, Checkpoint, Codes, Element, HostWeight, PackedWeight, Pool, Status, WeightType, F16};

/// Small and good enough: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

struct Case {
    k: usize,
    n: usize,
    group: usize,
    weight_type: WeightType,
    codes: Vec<u8>,
    zeros: Option<Vec<u8>>,
    scales: Vec<f32>,
    dense: Vec<f64>,
}

fn case(k: usize, n: usize, group: usize, weight_type: WeightType, seed: u64) -> Case {
    let mut random = Random(seed);
    let groups = (k + group - 1) / group;
    let limit = 1usize << weight_type.bits();
    let codes: Vec<u8> = (0..k * n).map(|_| random.below(limit) as u8).collect();
    let zeros = weight_type.has_zeros().then(|| (0..groups * n).map(|_| random.below(limit) as u8).collect::<Vec<u8>>());
    let scales: Vec<f32> = (0..groups * n).map(|_| (0.5 + random.unit()) / limit as f32).collect();
    let mut dense = vec![0.0; k * n];
    for row in 0..k {
        for column in 0..n {
            let at = row / group * n + column;
            let zero = zeros.as_ref().map_or(limit as f64 / 2.0, |zeros| zeros[at] as f64);
            dense[row * n + column] = (codes[row * n + column] as f64 - zero) * scales[at] as f64;
        }
    }
    Case { k, n, group, weight_type, codes, zeros, scales, dense }
}

impl Case {
    fn pack(&self, pool: Option<&Pool>) -> PackedWeight {
        let codes = Codes {
            k: self.k,
            n: self.n,
            group_size: self.group as i64,
            weight_type: self.weight_type,
            codes: &self.codes,
            zeros: self.zeros.as_deref(),
            scales: &self.scales[..],
        };
        codes.pack(pool).unwrap()
    }

    fn check(&self, x: &[f32], y: &[f32], m: usize) {
        for row in 0..m {
            for column in 0..self.n {
                let (mut sum, mut magnitude) = (0.0f64, 0.0f64);
                for k in 0..self.k {
                    let term = x[row * self.k + k] as f64 * self.dense[k * self.n + column];
                    sum += term;
                    magnitude += term.abs();
                }
                let error = (y[row * self.n + column] as f64 - sum).abs();
                assert!(error <= magnitude * 2f64.powi(-9) + 1e-7, "row {}, column {}: {}", row, column, error);
            }
        }
    }
}

const TYPES: [WeightType; 4] = [WeightType::U4B8, WeightType::U4, WeightType::U8B128, WeightType::U8];

#[test]
fn products_agree_with_float64() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.threads(), 2);
    for (i, weight_type) in TYPES.iter().enumerate() {
        for &(m, k, n, group) in &[(1, 64, 64, 64), (3, 96, 48, 32), (17, 90, 33, 90), (5, 256, 200, 128)] {
            let case = case(k, n, group, *weight_type, i as u64);
            let weight = case.pack(Some(&pool));
            assert_eq!((weight.k(), weight.n(), weight.weight_type()), (k, n, *weight_type));
            let mut random = Random(99);
            let x: Vec<f32> = (0..m * k).map(|_| random.unit() * 2.0 - 1.0).collect();
            let mut y = vec![f32::NAN; m * n];
            weight.gemm(&x, &mut y, m, Some(&pool)).unwrap();
            case.check(&x, &y, m);
            let mut alone = vec![f32::NAN; m * n];
            weight.gemm(&x, &mut alone, m, None).unwrap();
            assert_eq!(y, alone, "threads must not change a bit");
            for (a, b) in weight.dequantize(None).unwrap().iter().zip(&case.dense) {
                assert!((*a as f64 - b).abs() <= b.abs() * 2e-7);
            }
        }
    }
}

#[test]
fn sixteen_bit_activations_and_outputs() {
    let case = case(64, 64, 64, WeightType::U4B8, 7);
    let weight = case.pack(None);
    let x: Vec<f32> = (0..64).map(|i| (i % 5) as f32 - 2.0).collect(); // small integers: exact in every type
    let halves: Vec<F16> = x.iter().map(|v| F16([0xc000, 0xbc00, 0, 0x3c00, 0x4000][(*v + 2.0) as usize])).collect();
    let brains: Vec<Bf16> = x.iter().map(|v| Bf16((v.to_bits() >> 16) as u16)).collect();
    let (mut y, mut from_halves, mut from_brains) = (vec![0f32; 64], vec![0f32; 64], vec![0f32; 64]);
    weight.gemm(&x, &mut y, 1, None).unwrap();
    weight.gemm(&halves, &mut from_halves, 1, None).unwrap();
    weight.gemm(&brains, &mut from_brains, 1, None).unwrap();
    case.check(&x, &y, 1);
    case.check(&x, &from_halves, 1);
    case.check(&x, &from_brains, 1);
    let mut rounded = vec![Bf16(0); 64];
    weight.gemm(&x, &mut rounded, 1, None).unwrap();
    for (a, b) in rounded.iter().zip(&y) {
        let a = f32::from_bits((a.0 as u32) << 16);
        assert!((a - b).abs() <= b.abs() * 2f32.powi(-8));
    }
    assert_eq!(<F16 as Element>::TYPE, billfish::ElementType::F16);
}

#[test]
fn permutation_is_the_libraries_on_random_shapes() {
    let perm = build_marlin_perm();
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1024).collect::<Vec<usize>>());
    let mut random = Random(3);
    for _ in 0..12 {
        let (k, n) = (16 * (1 + random.below(6)), 64 * (1 + random.below(4)));
        let codes: Vec<u8> = (0..k * n).map(|_| random.below(16) as u8).collect();
        let mut words = vec![0u32; k / 8 * n];
        for row in 0..k {
            for column in 0..n {
                words[row / 8 * n + column] |= (codes[row * n + column] as u32) << (4 * (row % 8));
            }
        }
        let qweight: Vec<i32> = words.iter().map(|word| *word as i32).collect();
        let packed = repack_gptq_to_marlin(&qweight, k, n).unwrap();
        assert_eq!(packed.len(), k / 16 * 2 * n);
        for (word, value) in packed.iter().enumerate() {
            let (tile_row, in_row) = (word / (2 * n), word % (2 * n));
            let (tile_column, in_tile) = (in_row / 128, in_row % 128);
            for nibble in 0..8 {
                let source = perm[8 * in_tile + nibble];
                let (block, tile_k, tile_n) = (source / 256, source / 16 % 16, source % 16);
                let expected = codes[(16 * tile_row + tile_k) * n + 64 * tile_column + 16 * block + tile_n];
                assert_eq!((*value as u32 >> (4 * nibble) & 15) as u8, expected);
            }
        }
    }
}

#[test]
fn repacked_slices_multiply_where_they_lie() {
    let case = case(128, 64, 32, WeightType::U4B8, 11);
    let weight = case.pack(None);
    let scale_bits: Vec<u16> = case.scales.iter().map(|scale| (scale.to_bits() >> 16) as u16).collect();
    let scales: Vec<Bf16> = repack_scales_to_marlin(&scale_bits, 128, 64, 32).unwrap().iter().map(|bits| Bf16(*bits)).collect();
    // Vec<i32> is aligned to 4 bytes only: look for a start at 16.
    let mut room = vec![0i32; weight.codes().len() + 4];
    let start = (0..4).find(|i| room[*i..].as_ptr() as usize % 16 == 0).unwrap();
    room[start..start + weight.codes().len()].copy_from_slice(weight.codes());
    let held = HostWeight {
        qweight: &room[start..start + weight.codes().len()],
        scales: &scales[..],
        zeros: None,
        k: 128,
        n: 64,
        group_size: 32,
        weight_type: WeightType::U4B8,
    };
    let x = vec![0.25f32; 128];
    let (mut y, mut expected) = (vec![0f32; 64], vec![0f32; 64]);
    held.gemm(&x, &mut y, 1, None).unwrap();
    weight.gemm(&x, &mut expected, 1, None).unwrap();
    let norm: f32 = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
    let error: f32 = y.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    assert!(error <= norm * 2f32.powi(-5), "the scales were truncated to bf16, no more: {} of {}", error, norm);
    let unaligned = HostWeight { qweight: &room[start + 1..start + 1 + weight.codes().len() - 4], ..held };
    assert!(unaligned.gemm(&x, &mut y, 1, None).is_err());
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let case = case(64, 64, 64, WeightType::U4B8, 5);
    let weight = case.pack(None);
    let (x, mut y) = (vec![0f32; 64], vec![0f32; 64]);
    let refused = |result: billfish::Result<()>, words: &str| {
        let error = result.unwrap_err();
        assert!(error.message().contains(words), "{}", error);
        assert_eq!(error.status(), Status::InvalidArgument);
    };
    refused(weight.gemm(&x[..63], &mut y, 1, None), "x has 63 elements; it must have 64, m * k");
    refused(weight.gemm(&x, &mut y[..1], 1, None), "y has 1 elements; it must have 64");
    refused(weight.gemm(&x, &mut y, usize::MAX / 8, None), "more elements than memory can hold");
    let good = Codes {
        k: 64,
        n: 64,
        group_size: 64,
        weight_type: WeightType::U4B8,
        codes: &case.codes,
        zeros: None,
        scales: &case.scales[..],
    };
    refused(Codes { group_size: 0, ..good }.pack(None).map(|_| ()), "group_size is 0");
    refused(Codes { k: 65, ..good }.pack(None).map(|_| ()), "codes has 4096 elements");
    refused(Codes { weight_type: WeightType::U4, ..good }.pack(None).map(|_| ()), "zeros is missing");
    refused(repack_gptq_to_marlin(&[0; 192], 24, 64).map(|_| ()), "k is 24");
    refused(repack_gptq_to_marlin(&[0; 5], 16, 64).map(|_| ()), "qweight has 5 elements; it must have 128");
    refused(repack_gptq_to_marlin_bits(&[0; 5], 16, 64, 3).map(|_| ()), "bits is 3");
    refused(repack_scales_to_marlin(&[0; 5], 16, 64, -1).map(|_| ()), "scales has 5 elements");
    let infinite = vec![f32::INFINITY; 64];
    let error = Codes { scales: &infinite[..], ..good }.pack(None).map(|_| ()).unwrap_err();
    assert_eq!(error.status(), Status::BadInput);
    let error = Checkpoint::open("/no/such/checkpoint").map(|_| ()).unwrap_err();
    assert!(error.message().contains("/no/such/checkpoint"), "{}", error);
    assert!(Checkpoint::open("nul\0byte").is_err());
}

#[test]
fn threads_share_a_pool_and_a_weight() {
    let case = case(128, 128, 64, WeightType::U4, 21);
    let pool = Pool::new(2).unwrap();
    let weight = case.pack(Some(&pool));
    let x = vec![0.5f32; 4 * 128];
    let mut expected = vec![0f32; 4 * 128];
    weight.gemm(&x, &mut expected, 4, Some(&pool)).unwrap();
    let (weight, pool, x, expected) = (&weight, &pool, &x, &expected);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut y = vec![0f32; 4 * 128];
                    weight.gemm(x, &mut y, 4, Some(pool)).unwrap();
                    assert_eq!(&y, expected);
                }
            });
        }
    });
}

#[test]
fn checkpoints_are_read() {
    // A GPTQ file written here: 4-bit codes of 7 and 9 in turn (minus and plus one), scales of 1.
    let (k, n) = (32usize, 64usize);
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("checkpoint");
    std::fs::create_dir_all(&folder).unwrap();
    let config = r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": true, "desc_act": false}}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    let parts: [(&str, &str, String, Vec<u8>); 3] = [
        (
            "qweight",
            "I32",
            format!("[{}, {}]", k / 8, n),
            std::iter::repeat(0x9797_9797u32.to_le_bytes()).take(k / 8 * n).flatten().collect(),
        ),
        ("qzeros", "I32", format!("[1, {}]", n / 8), std::iter::repeat(0x7777_7777u32.to_le_bytes()).take(n / 8).flatten().collect()),
        ("scales", "F16", format!("[1, {}]", n), std::iter::repeat(0x3c00u16.to_le_bytes()).take(n).flatten().collect()),
    ];
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in &parts {
        let (begin, end) = (data.len(), data.len() + bytes.len());
        header.push(format!(r#""a.up.{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}}"#, name, dtype, shape, begin, end));
        data.extend_from_slice(bytes);
    }
    let mut header = format!("{{{}}}", header.join(","));
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();

    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.format(), "gptq");
    let layers = checkpoint.layers().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!((layers[0].name.as_str(), layers[0].k, layers[0].n, layers[0].weight_type), ("a.up", k, n, Some(WeightType::U4B8)));
    assert!(layers[0].unsupported.is_empty());
    assert!(checkpoint.pack("a.down", None).map(|_| ()).unwrap_err().message().contains("a.up"), "the nearest name is told");
    let weight = checkpoint.pack("a.up", None).unwrap();
    drop(checkpoint);
    let dense = weight.dequantize(None).unwrap();
    for row in 0..k {
        assert_eq!(dense[row * n], if row % 2 == 0 { -1.0 } else { 1.0 });
    }
}

#[test]
fn plans_are_loaded_whole_or_refused() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plans");
    std::fs::create_dir_all(&folder).unwrap();
    // Of a product that no other test here makes, by the slowest implementation.
    let good = r#"{"schema": 1, "device": {"kind": "cpu"}, "plans": [{"type": "u4b8", "act": "f32", "n": 72, "k": 48, "group": 48,
      "zeroed_workspace": false, "dependent_launch": false, "m_from": 1, "m_to": 1,
      "plan": {"implementation": "reference", "policy": "double", "tile_m": 1, "tile_n": 1, "splits": 1, "cluster": 1,
      "threads": 1, "blocks": 1, "detail": [0, 0, 0, 0]}}]}"#;
    let (path, wrong) = (folder.join("good.json"), folder.join("wrong.json"));
    std::fs::write(&path, good).unwrap();
    std::fs::write(&wrong, good.replace("reference", "cpu_avx9")).unwrap();
    load_plans(&path).unwrap();
    let error = load_plans(&wrong).unwrap_err();
    assert_eq!(error.status(), Status::BadInput);
    assert!(error.message().contains("wrong.json") && error.message().contains("cpu_avx9"), "{}", error);
    assert_eq!(load_plans(folder.join("missing.json")).unwrap_err().status(), Status::BadInput);
    assert_eq!(load_plans("plans\0.json").unwrap_err().status(), Status::InvalidArgument);
    forget_plans().unwrap();
}

#[test]
fn everything_is_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Pool>();
    both::<PackedWeight>();
    both::<Checkpoint>();
    both::<billfish::MarlinWeight>();
    both::<billfish::Error>();
}

#[cfg(feature = "half")]
#[test]
fn types_of_the_half_crate_are_elements() {
    let case = case(64, 64, 64, WeightType::U4B8, 31);
    let weight = case.pack(None);
    let x: Vec<half::f16> = (0..64).map(|i| half::f16::from_f32((i % 7) as f32 - 3.0)).collect();
    let wide: Vec<f32> = x.iter().map(|v| v.to_f32()).collect();
    let (mut y, mut rounded) = (vec![0f32; 64], vec![half::bf16::from_f32(0.0); 64]);
    weight.gemm(&x, &mut y, 1, None).unwrap();
    case.check(&wide, &y, 1);
    weight.gemm(&x, &mut rounded, 1, None).unwrap();
    for (a, b) in rounded.iter().zip(&y) {
        assert!((a.to_f32() - b).abs() <= b.abs() * 2f32.powi(-8));
    }
}
