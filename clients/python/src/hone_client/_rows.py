"""Columns of an answer as rows. Whatever does not fit together is a ProtocolError, never a row that is half right."""
from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, cast

from .documents import AttemptRow, TrialRow
from .errors import ProtocolError


def member(document: Dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise ProtocolError(f"{str(document.get('schema', 'the answer'))[:60]} has no {name} that fits")
    return value


def text(document: Dict[str, Any], name: str) -> str:
    return cast(str, member(document, name, str))


def items(document: Dict[str, Any], name: str) -> List[Any]:
    return cast(List[Any], member(document, name, list))


class _Columns:
    def __init__(self, document: Dict[str, Any]) -> None:
        self.document = document
        self.rows: int = member(document, "rows", int)
        self.words = items(document, "words")

    def column(self, name: str) -> List[Any]:
        return self._fitting(items(self.document, name), name)

    def columns(self, name: str) -> Dict[str, List[Any]]:
        found: Dict[str, Any] = member(self.document, name, dict)
        return {key: self._fitting(value, key) for key, value in found.items()}

    def named(self, name: str, values: Optional[List[Any]] = None) -> List[Any]:
        """A column of numbers into `words`, or into another list of the answer."""
        source = self.words if values is None else values
        return [None if index is None else self._at(source, index, name) for index in self.column(name)]

    def _fitting(self, values: Any, name: str) -> List[Any]:
        if not isinstance(values, list) or len(values) != self.rows:
            raise ProtocolError(f"the column {name[:60]} has not {self.rows} rows")
        return values

    @staticmethod
    def _at(values: List[Any], index: Any, name: str) -> Any:
        if not isinstance(index, int) or not 0 <= index < len(values):
            raise ProtocolError(f"the column {name[:60]} points nowhere")
        return values[index]


def _row(columns: Dict[str, List[Any]], index: int) -> Dict[str, Any]:
    return {name: column[index] for name, column in columns.items()}


def trial_rows(document: Dict[str, Any]) -> Iterator[TrialRow]:
    table = _Columns(document)
    columns = {name: table.column(name) for name in ("trial", "study", "attempts", "wall_s", "created_s", "ended_s")}
    columns["state"] = table.named("trial_state")
    for name in ("phase", "backend", "worker", "reason"):
        columns[name] = table.named(name)
    columns["pipeline"] = table.named("pipeline", items(document, "pipelines"))
    columns["settings"] = table.named("settings", items(document, "settings_list"))
    columns["pareto"] = [bool(value) for value in table.column("pareto")]
    metrics, low, high = (table.columns(name) for name in ("metrics", "low", "high"))
    for index in range(table.rows):
        row = _row(columns, index)
        row["metrics"] = {name: column[index] for name, column in metrics.items() if column[index] is not None}
        row["ci99"] = {
            name: [low[name][index], high[name][index]]
            for name in low.keys() & high.keys() if low[name][index] is not None or high[name][index] is not None
        }
        yield cast(TrialRow, row)


def attempt_rows(document: Dict[str, Any]) -> Iterator[AttemptRow]:
    table = _Columns(document)
    columns = {name: table.column(name) for name in ("attempt", "study", "trial", "started_s", "ended_s", "accuracy_s",
                                                     "timing_s", "wait_s")}
    for name in ("kind", "worker", "outcome", "pass"):
        columns[name] = table.named(name)
    for index in range(table.rows):
        yield cast(AttemptRow, _row(columns, index))
