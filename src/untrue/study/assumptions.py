"""What an estimate assumes, each with its reason: rates of machines, lengths of texts, sizes of files.

None of the rates of GPUs was measured with this project. A GPU's rate is scaled by parameters from the model that it is
stated for.
"""

from typing import NamedTuple

from untrue.judge.cost import CHARACTERS


class Assumption(NamedTuple):
    """A number that an estimate goes by.

    Attributes:
        of: What of the estimate it is about, as the estimate is printed.
        value: The number.
        unit: What it counts.
        reason: Where it comes from.
    """

    of: str
    value: float
    unit: str
    reason: str


FILLER = "x" * CHARACTERS
"""A text of one token, by rule of thumb."""

REFERENCE_8B, REFERENCE_32B, EMBEDDED = 8_030_261_248, 32_762_123_264, 134_515_008
"""Parameters of Llama-3.1-8B, Qwen3-32B and SmolLM2-135M."""

GPU_TRAINING_8B = Assumption(
    "training", 9_600, "tokens/s", "reported for LoRA on Llama-3.1-8B, bfloat16, batch 4 x 1,024, one H100"
)
GPU_TRAINING_32B = Assumption(
    "training", 1_900, "tokens/s", "reported for full fine-tuning of Qwen3-32B, each of eight H100; LoRA taken as equal"
)
GPU_REPLIES = Assumption(
    "replies", 2_350, "tokens/s written", "reported for vLLM, Qwen3-32B, one H100; the engine in this process is slower"
)
MEASURED_ON = "AVX512"
"""Of the machines in benchmarks/results.json, the one whose rates are assumed of two CPU cores."""

CPU_TRAINING = Assumption("training", 366.0, "tokens/s", "measured on the embedded model, benchmarks/results.json")
CPU_REPLIES = Assumption("replies", 107.2, "tokens/s written", "measured likewise")
CPU_ITEMS = Assumption("items", 2.93, "items/s", "measured likewise: 45 in 15.37 s")

LABELLED = Assumption(
    "training", 2.21, "times as long with KTO or DPO", "measured on the embedded model: 366.0 to 165.8 tokens/s"
)
GPU_ITEM = Assumption(
    "items", 1_000, "tokens read for each item that is scored by likelihood", "rough: five prompts and their replies"
)
"""They are read at the rate of training, which is slower than reading alone."""

REPLY = Assumption("replies", 200, "tokens each, or the limit", "as judge costs are estimated")
WRITTEN_REPLY = Assumption("rows", 50, "tokens in a written candidate", "those of `chat` have 30 to 42 words")
USER_MESSAGE = Assumption("rows", 80, "tokens in a message of a user", "two to five sentences")
PROMPT = Assumption("rows", 60, "tokens in a prompt that is not here", "rough, where nobody says more")
COMPLETION = Assumption("rows", 190, "tokens in its reply", "rough, where nobody says more")
CHAT_FORMAT = Assumption("rows", 15, "tokens of the chat's format in each", "as judge costs are estimated")
RATING = Assumption("users", 3, "tokens in a rating", "the number alone")

WEIGHTS = Assumption("memory", 2, "bytes a parameter", "bfloat16, and twice that in float32")
LORA_TRAINING = Assumption(
    "memory", 16, "bytes a parameter of LoRA", "weights, gradients and two moments of Adam in float32"
)
QUANTIZED = Assumption(
    "memory", 0.52, "bytes a weight of a linear layer, 8 for one of LoRA", "NF4 and bfloat16; embeddings and head stay"
)
QUANTIZED_LORA = 8
ACTIVATIONS = Assumption(
    "memory",
    2,
    "bytes x layers x hidden size for each token of a batch",
    "checkpointed; logits not counted",
)
LORA_FILE = Assumption("disk", 4, "bytes a parameter of LoRA in each adapter", "float32, as PEFT saves it")
CHECKPOINT = Assumption("disk", 12, "bytes a parameter of LoRA in a checkpoint", "one at a time, with two moments")
LOG = Assumption(
    "disk", 4_000, "bytes of log for each reply, item and dialogue", "small runs wrote 3,300 to 5,800 for each sample"
)
