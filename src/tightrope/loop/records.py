"""Records: the slices of tracks, from the rows at hand where they are, else from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tightrope.base.errors import DataError
from tightrope.loop.assess import padded, units_of
from tightrope.loop.corrections import Correction
from tightrope.loop.tracks import Track
from tightrope.loop.watch import Watch
from tightrope.sli.coverage import fill_gaps
from tightrope.sli.methods import combine
from tightrope.sli.slices import Slices
from tightrope.specs.model import Gaps
from tightrope.telemetry.store import SliceStore

_AS_IT_IS: Mapping[str, Correction] = {}


class Records:
    """What is known of the slices of tracks.

    Args:
        slices: The store.
    """

    def __init__(self, slices: SliceStore) -> None:
        self._slices = slices
        self.watch = Watch(self.rows)

    def units(self, track: Track, start: int | None, end: int, without: Mapping[str, Correction] = _AS_IT_IS) -> Slices:
        """The stored unit slices of a track in ``[start, end)``, *without* some corrections.

        *start* None: from its first slice on.
        """
        if track.whole:
            parts = [(self.units(one, start, end, without), one.objective.weight) for one in track.members]
            return padded(combine(parts, track.slo.method), end)
        step = track.unit_step_s
        from_the_first = start is None or track.slo.gaps is not Gaps.IGNORE  # what fills a gap may lie far back
        begin = None if from_the_first or start is None else start // step * step
        raw = self.record(track, begin, end)
        if track.key in without:
            raw = without[track.key].undone(raw)
        units = units_of(self.watch.following, track.slo, track.objective, raw)
        return units if start is None else units.between(start, end)

    def record(self, track: Track, start: int | None, end: int) -> Slices:
        """The stored raw slices of a track, padded to *end* with gaps."""
        step = track.step_s or 60
        found = _nothing(end, step, track.scale)
        if track.series is not None:
            (found,) = self._slices.read([track.series], start, end)
        if not len(found):
            found = _nothing(end // step * step if start is None else start, step, track.scale)
        return padded(found, end)

    def rows(self, keys: Sequence[str], start: int, end: int) -> Sequence[Slices]:
        """The unit slices of many tracks in a stretch, plain ones in one question to the store."""
        watch = self.watch
        tracks = [watch.tracks[key] for key in keys]
        young = {one.key for one in tracks if watch.begins.get(one.key, start) >= end}
        plain = [one for one in tracks if one.plain and one.series is not None and one.key not in young]
        raw = self._slices.read([one.series for one in plain if one.series is not None], start, end)
        found = {
            one.key: units_of(watch.following, one.slo, one.objective, slices) if watch.may_exclude(one) else slices
            for one, slices in zip(plain, raw, strict=True)
        }
        empty: dict[int, Slices] = {}
        for one in tracks:
            if one.key in young:
                step = one.unit_step_s
                if step not in empty:
                    empty[step] = _nothing(start // step * step, step, 1)
                found[one.key] = empty[step]
            elif one.key not in found:
                found[one.key] = self.units(one, start, end).between(start, end)
        return [found[key] for key in keys]

    def read_each(
        self, tracks: Sequence[Track], start: int | None, end: int | None
    ) -> list[tuple[Track, Slices | DataError]]:
        """The raw slices of tracks that have records; or what is wrong with a record, which is no matter of others."""
        ids = [one.series for one in tracks if one.series is not None]
        if len(ids) != len(tracks):
            raise AssertionError("only tracks that have records are read")
        try:
            return list(zip(tracks, self._slices.read(ids, start, end), strict=True))
        except DataError as error:
            if len(tracks) == 1:
                return [(tracks[0], error)]
        half = len(tracks) // 2
        return [*self.read_each(tracks[:half], start, end), *self.read_each(tracks[half:], start, end)]

    # --- one slice -------------------------------------------------------------------------------------------------

    def unit(self, track: Track, start: int, end: int) -> Slices:
        """One unit slice of a track that is more than its raw counts."""
        specs = self.watch.following
        if track.whole:
            parts = [(self.unit(one, start, end), one.objective.weight) for one in track.members]
            return padded(combine(parts, track.slo.method), end)
        raw = self._raw(track, start, end)
        unit = units_of(specs, replace(track.slo, gaps=Gaps.IGNORE), track.objective, raw)
        if track.slo.gaps is not Gaps.IGNORE and track.carry is not None:
            led = Slices(
                unit.start - unit.step_s,
                unit.step_s,
                np.concatenate([[track.carry[0]], unit.bad]),
                np.concatenate([[track.carry[1]], unit.total]),
                np.concatenate([[True], unit.covered]),
                None if unit.excluded is None else np.concatenate([[False], unit.excluded]),
                unit.scale,
            )
            unit = fill_gaps(led, track.slo.gaps).between(unit.start, unit.end)
        return unit

    def _raw(self, track: Track, start: int, end: int) -> Slices:
        """Raw slices of a short stretch, from the rows at hand where they are, else from the store."""
        step = track.step_s or 60
        count = (end - start) // step
        bad, total, covered = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_)
        board = self.watch.boards.get(step)
        place = None if board is None else board.place.get(track.key)
        for index in range(count):
            row = None if board is None else board.rows.get(start // step + index)
            if row is not None and place is not None and row.covered[place]:
                bad[index], total[index], covered[index] = row.bad[place], row.total[place], row.covered[place]
            elif track.series is not None:
                (old,) = self._slices.read([track.series], start + index * step, start + (index + 1) * step)
                if len(old):
                    bad[index], total[index], covered[index] = old.bad[0], old.total[0], old.covered[0]
        return Slices(start, step, bad, total, covered, scale=track.scale)


def _nothing(start: int, step_s: int, scale: int) -> Slices:
    counts = np.zeros(0, np.int64)
    return Slices(start, step_s, counts, counts, np.zeros(0, np.bool_), scale=scale)
