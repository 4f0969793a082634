"""The table of a run on a GPU, from the rows of its JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.race import shown

HOST_BOUND = 0.9
"""Part of a call's time that its asking takes, from which the host sets the pace."""

Row = Mapping[str, Any]


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The whole report."""
    yield from _head(result)
    for test in result["tests"]:
        yield f"tests {test['what']}: {test['summary']} ({test['seconds']:.0f} s)"
    sections = dict.fromkeys(row["section"] for row in result["rows"])
    for section in sections:
        yield ""
        rows = [row for row in result["rows"] if row["section"] == section]
        yield from _section(section, rows, not result["stand_in"])
    if result["failures"] or result["not_run"]:
        yield ""
    if result["not_run"]:
        yield f"NOT RUN, no time or no GPU was left: {'; '.join(result['not_run'])}"
    for failure in result["failures"]:
        yield f"FAILED {failure['section']}, {failure['case']}: {failure['error']}"


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    gpu, versions = result["machine"], result["versions"]
    if result["stand_in"]:
        yield "ON THE STAND-IN FOR A GPU: values are compared, times and rates mean nothing"
    yield f"{gpu.get('name', 'no GPU answered')}, driver {result['driver']}, {result['date']}"
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
    yield (
        "ours and peers: median seconds a call, * where the host sets the pace; 1.50x: half as "
        "long again as ours; peak: part of the machine's measured rate; err: the largest "
        "||a - b|| / ||b|| against the closest peer"
    )


def _section(title: str, rows: Sequence[Row], judged: bool) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.get("peers", {})))
    head = [title, "ours", "rate", "peak", *names, "err", "verdict"]
    cells = [head, *[_cells(row, names, judged) for row in rows]]
    used = [k for k in range(len(head)) if k == 0 or any(line[k] for line in cells[1:])]
    widths = {k: max(len(line[k]) for line in cells) for k in used}
    last = len(head) - 1
    for place, line in enumerate(cells):
        text = "  ".join(
            line[k].ljust(widths[k]) if k in (0, last) else line[k].rjust(widths[k]) for k in used
        ).rstrip()
        yield text
        if not place:
            yield "-" * len(text)
            continue
        row = rows[place - 1]
        for word in ("error", "note"):
            if row.get(word):
                yield f"    {word + ': ' if word == 'error' else ''}{row[word]}"
        for name, why in row.get("peers", {}).items():
            if why.get("error"):
                yield f"    {name}: {why['error']}"


def _cells(row: Row, names: Sequence[str], judged: bool) -> list[str]:
    ours, peers = row.get("ours"), row.get("peers", {})
    errors = [e for e in row.get("errors", {}).values() if e == e]
    return [
        row["name"],
        _time(ours) if ours else "FAILED" if row.get("error") else "",
        _rate(row),
        _peak(row),
        *[_peer(peers.get(name), ours) for name in names],
        f"{min(errors):.0e}" if errors else "nan" if row.get("errors") else "",
        _verdict(row, judged),
    ]


def _time(times: Row) -> str:
    bound = times["host"] >= HOST_BOUND * times["median"]
    return shown(times["median"]) + ("*" if bound else "")


def _peer(times: Row | None, ours: Row | None) -> str:
    if times is None:
        return ""
    if "median" not in times:
        return "failed" if "error" in times else str(times["skipped"])
    return _time(times) + (f" {times['median'] / ours['median']:.2f}x" if ours else "")


def _rate(row: Row) -> str:
    if not row.get("ours") or not row["work"]:
        return ""
    rate = row["work"] / row["ours"]["median"]
    return f"{rate / 1e9:.4g} GB/s" if row["unit"] == "B" else f"{rate / 1e12:.4g} TFLOP/s"


def part_of_peak(row: Row) -> float | None:
    """Our rate over the machine's."""
    peak = row.get("facts", {}).get(row["rate"])
    return row["work"] / row["ours"]["median"] / peak if row.get("ours") and peak else None


def _peak(row: Row) -> str:
    part = part_of_peak(row)
    return "" if part is None else f"{part:.0%}"


def ratio(row: Row) -> float | None:
    """The quickest peer's time over ours."""
    times = [t["median"] for t in row.get("peers", {}).values() if "median" in t]
    return min(times) / row["ours"]["median"] if times and row.get("ours") else None


def goals(row: Row) -> dict[str, bool | None]:
    """Each goal of a row and whether it is met; None where that is not known."""
    found: dict[str, bool | None] = {}
    if not row.get("ours"):
        return found
    if row["share"] is not None:
        part = part_of_peak(row)
        found[f"{row['share']:.0%} of peak"] = None if part is None else part >= row["share"]
    if row["best"] is not None:
        times = ratio(row)
        found[f"{row['best']:.2f} of best"] = None if times is None else times >= row["best"]
    if row["limit"] is not None:
        found[f"<= {shown(row['limit'])}"] = row["ours"]["median"] <= row["limit"]
    return found


def _verdict(row: Row, judged: bool) -> str:
    words = ["WRONG"] if row.get("wrong") else []
    if not judged:
        return "".join(words)
    times = ratio(row)
    words += [] if times is None or not math.isfinite(times) else [f"best {times:.2f}x"]
    for goal, met in goals(row).items():
        words.append(f"{goal} {'not known' if met is None else 'met' if met else 'MISSED'}")
    return ", ".join(words)
