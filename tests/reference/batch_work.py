"""A batch in a folder of its own, answered by a scripted model in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmtool.cli.batch.job import Counts, Files
from lmtool.cli.batch.options import AnswerSettings, BatchPrompt, BatchSampling, BatchStops
from lmtool.cli.batch.order import Order
from lmtool.cli.batch.row_settings import RowSettings
from lmtool.cli.batch.rows import Input
from lmtool.cli.batch.work import fulfil
from lmtool.cli.chat_options import ChatPromptOptions
from lmtool.cli.constraint_options import ConstraintSettings
from lmtool.cli.settings import Setting
from lmtool.cli.terminal import Terminal
from reference.scripted_model import Script, ScriptedSession

SETTINGS = RowSettings(
    BatchSampling(temp=Setting(1.0, "command line")),
    BatchStops(),
    ConstraintSettings(),
    BatchPrompt(),
    ChatPromptOptions(),
    AnswerSettings(),
)


@dataclass
class Work:
    """A job in a folder of its own, run in this process by a scripted model."""

    folder: Path
    rows: int = 12

    def __post_init__(self) -> None:
        rows = [json.dumps({"prompt": f"row {n}", "n": n}) for n in range(self.rows)]
        rows[1:1] = ["broken", '{"prompt": "FAIL"}']
        self.folder.mkdir()
        (self.folder / "in.jsonl").write_text("\n".join(rows) + "\n")

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def order(self) -> Order:
        return Order(Input(self.folder / "in.jsonl", "jsonl"), Files(self.output), SETTINGS)

    def run(self, script: Script | None = None, **changes: Any) -> Counts:
        session: Any = ScriptedSession(script or Script())
        return fulfil(replace(self.order, **changes), lambda: session, Terminal(verbosity=-1))

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"in.jsonl"}
