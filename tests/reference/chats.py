"""Chat templates of real families' kind, a tokenizer with their tokens, and talks to render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

# ruff: noqa: RUF001  a full-width bar is what DeepSeek's tokens have
from reference.small_tokenizers import byte_level

FOLDER = Path(__file__).with_name("templates")
TEMPLATES = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.jinja"))}

BOS, EOS = "<s>", "</s>"
SPECIAL = (
    *(BOS, EOS, "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "<start_of_turn>", "<end_of_turn>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>"),
    *("<|CHATBOT_TOKEN|>", "<｜end▁of▁sentence｜>", "<|start_of_role|>", "<|end_of_role|>"),
    *("<|end_of_text|>", "<|tool_call|>", "<|start|>", "<|message|>", "<|channel|>", "<|return|>"),
)
# Some checkpoints mark turns with tokens that aren't special, and thoughts and calls always.
PLAIN = ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<tool_call>", "</tool_call>")
PLAIN += ("<tool_response>", "</tool_response>")

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'Tells the "weather" <here> & there, für alle.',
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Where"}},
                "required": ["city"],
            },
        },
    }
]
DOCUMENTS = [{"title": "Cats", "text": "A cat sleeps."}, {"title": "Dogs", "text": "A dog\nruns."}]

USER = {"role": "user", "content": "  How old is the lighthouse?\n"}
SYSTEM = {"role": "system", "content": 'Answer like a keeper: «kurz» & "klar".'}
ASSISTANT = {"role": "assistant", "content": "\nOlder than the sea. "}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}},
        }
    ],
}
RESULT = {"role": "tool", "content": '{"sun": true}', "tool_call_id": "abcdefghi"}
THOUGHT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
REASONED = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}

TALKS: dict[str, list[dict[str, Any]]] = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ASSISTANT, USER],
    "system and turns": [SYSTEM, USER, ASSISTANT, USER],
    "answered": [USER, ASSISTANT],
    "two users": [USER, USER],
    "begins with an answer": [ASSISTANT, USER],
    "tool": [USER, CALL, RESULT],
    "thoughts": [USER, THOUGHT, USER],
    "thoughts last": [USER, REASONED],
    "nobody": [{"role": "narrator", "content": "Night falls."}],
}


def chat_tokenizer() -> Tokenizer:
    """GPT-2's kind with every family's tokens."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in PLAIN])
    return tokenizer


def save_chat_tokenizer(folder: Path, template: str | None = None, **config: Any) -> Path:
    """A folder with the tokenizer, its config, and `template` as its own file."""
    folder.mkdir(parents=True, exist_ok=True)
    chat_tokenizer().save(str(folder / "tokenizer.json"))
    config = {"bos_token": BOS, "eos_token": EOS, "pad_token": "<|endoftext|>", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder
