# SPDX-License-Identifier: Apache-2.0
"""The words of the library's enums, and their numbers in billfish.h. Used by every module of the package."""

from typing import Any, Literal, TypeVar

import numpy.typing as npt

WeightType = Literal["u4b8", "u4", "u8b128", "u8"]
ElementType = Literal["float32", "float16", "bfloat16"]
Precision = Literal["full", "bf16", "int8"]
Array = npt.NDArray[Any]

WEIGHT_TYPES: dict[WeightType, int] = {"u4b8": 0, "u4": 1, "u8b128": 2, "u8": 3}
ELEMENT_TYPES: dict[ElementType, int] = {"float32": 0, "float16": 1, "bfloat16": 2}
PRECISIONS: dict[Precision, int] = {"full": 0, "bf16": 1, "int8": 2}
FORMATS = {"gptq": 0, "gptq_v2": 1, "awq": 2, "compressed-tensors": 3, "raw": 4, "marlin": 5}

Word = TypeVar("Word", bound=str)


def number(words: dict[Word, int], word: str, argument: str) -> int:
    """The number of a word, or a ValueError that names the argument and what is supported."""
    for known, value in words.items():
        if known == word:
            return value
    raise ValueError(f"{argument} is {word!r}; supported are {', '.join(words)}")


def word(words: dict[Word, int], number: int) -> Word:
    """The word of a number that the library gave."""
    for known, value in words.items():
        if value == number:
            return known
    raise RuntimeError(f"the library gave {number}, which none of {', '.join(words)} is")
