"""The panel: it joins the small boxes to the open scan, and holds nothing that a scan could lose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QHBoxLayout

from napari_medmeta.core import MedmetaError, SliceRef, VolumeTooLargeError
from napari_medmeta.session import Change, PaintMode, Session
from napari_medmeta.ui.applications import dock_applications
from napari_medmeta.ui.bindings import KeyBindings
from napari_medmeta.ui.body import PanelBody
from napari_medmeta.ui.case import Case
from napari_medmeta.ui.controller import Work
from napari_medmeta.ui.dialogs import ask_label_layer, ask_save, ask_session
from napari_medmeta.ui.docked import DockedWidget
from napari_medmeta.ui.explain import ExplainSection
from napari_medmeta.ui.key_help import KeyHelp, shown_key
from napari_medmeta.ui.keys import Act, chosen_keys
from napari_medmeta.ui.learner_choice import Answerer, LearnerSection
from napari_medmeta.ui.library import library_at
from napari_medmeta.ui.library_box import LibrarySection
from napari_medmeta.ui.measurements_table import MeasurementsSection
from napari_medmeta.ui.open_box import open_scan
from napari_medmeta.ui.opening import Opened, begin_session, open_session
from napari_medmeta.ui.overlay import Chores
from napari_medmeta.ui.part_scan import PartChooser, part_arguments
from napari_medmeta.ui.preferences import Preferences, load_preferences
from napari_medmeta.ui.saving import SaveEnd, SaveJob, Saver
from napari_medmeta.ui.scan import scan_of_layer
from napari_medmeta.ui.score import ScoreLine
from napari_medmeta.ui.windowing import Window, windows_for
from napari_medmeta.ui.wiring import wire_messages, wire_painting, wire_proposal, wire_table
from napari_medmeta.ui.worker import Engine, EngineWorker
from napari_medmeta.ui.working_grid import PartGrid

__all__ = ["MedmetaPanel"]

RETRY_STORAGE_MS = 5000
"""A full disk is usually emptied within minutes; trying this often costs nothing."""


class MedmetaPanel(DockedWidget):
    """Few-shot segmentation of the scan in one viewer.

    Parameters
    ----------
    napari_viewer
        The viewer beside which the panel is docked; napari fills in an argument of this name.
    session_folder
        Where sessions are kept; None: beside each scan.
    make_engine
        Builds the engine, in the background.
    preferences
        The user's choices; None: those of napari's preferences.
    """

    case_changed = Signal()

    def __init__(
        self,
        napari_viewer: ViewerModel,
        *,
        session_folder: Path | None = None,
        make_engine: Callable[[], Engine] | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        super().__init__()
        # napari hands plugins a proxy; its layers would not be the layers that events tell of.
        viewer: ViewerModel = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer: ViewerModel | None = viewer
        self._preferences = preferences or load_preferences()
        chosen_folder = self._preferences.session_folder
        self._folder = session_folder or (Path(chosen_folder) if chosen_folder else None)
        self._make_engine = make_engine or (lambda: _make_segmenter(self._preferences.device, self.learner.chosen))
        self._keys = chosen_keys(self._preferences.keys)
        self._windows: tuple[Window, ...] = ()
        self._bindings = KeyBindings(viewer, self._keys)
        self._seen: set[object] = set()
        self.case: Case | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._do_chore)
        self._chores = Chores(self._timer.start)
        self._retry = QTimer(self)
        self._retry.setInterval(RETRY_STORAGE_MS)
        self._retry.timeout.connect(self._retry_storage)
        self.saver = Saver(self)
        self._build()
        self._add_sections(viewer)
        self._wire(viewer)
        viewer.layers.events.inserted.connect(self._layers_changed)
        viewer.layers.events.removed.connect(self._layers_changed)
        self._after_layers_changed()
        if self.case is None:
            self._refresh()

    # -- the open scan ------------------------------------------------------------------------

    def open_layer(self, layer: Image, *, session: Session | None = None) -> bool:
        """Work on the scan in ``layer``, with ``session`` or with the one that is kept for it."""
        if self._viewer is None:
            return False
        try:
            scan = scan_of_layer(layer)
            opened = Opened(session) if session is not None else open_session(scan, folder=self._folder)
        except MedmetaError as error:
            self._show_error(error)
            return False
        self.close_case()
        refused = self.learner.recheck()
        worker = EngineWorker(self._make_engine)
        self.case = Case(
            self._viewer, layer, scan=scan, session=opened.session, runner=worker, chores=self._chores, defer=_soon
        )
        self._prepare(self.case)
        last = opened.session.last_slice()
        if last is not None:
            # Where the radiologist was when the window closed, or the computer stopped.
            self.case.layers.go_to(last)
        notes = (opened.note, opened.session.opening_note, opened.session.storage_problem, refused, *scan.notes)
        self.body.footer.set_message(" ".join(note for note in notes if note))
        self._list_scans()
        self._refresh()
        self.case_changed.emit()
        return True

    def close_case(self) -> None:
        """Let go of the open scan; everything said about it is in its session."""
        if self.case is None:
            return
        case, self.case = self.case, None
        self.body.too_large.hide()
        self._bindings.unbind()
        case.close()
        self._windows = ()
        self.body.scan_box.set_windows(())
        self.case_changed.emit()

    def release(self) -> None:
        """Close the scan and let go of the viewer: the panel or the viewer goes away."""
        viewer, self._viewer = self._viewer, None
        if viewer is None:
            return
        viewer.layers.events.inserted.disconnect(self._layers_changed)
        viewer.layers.events.removed.disconnect(self._layers_changed)
        self.saver.close()
        self.close_case()
        self._timer.stop()
        self._retry.stop()
        self.forget_window()

    def is_released(self) -> bool:
        """Return whether the viewer has been let go of."""
        return self._viewer is None

    @property
    def viewer(self) -> ViewerModel | None:
        """The viewer beside which the panel is docked, None once it was let go of."""
        return self._viewer

    def message(self) -> str:
        """Return the last message shown."""
        return self.body.footer.message()

    def hint(self) -> str:
        """Return the line that says what to do next."""
        return self.body.hint.text()

    # -- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.body = PanelBody(self._keys)
        self.body.proposal_box.set_confidence(self._preferences.confidence)
        self.body.proposal_box.set_contour(self._preferences.contour)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.body)
        help_key = QShortcut(QKeySequence(self._keys[Act.HELP]), self)
        help_key.setContext(Qt.ShortcutContext.WindowShortcut)
        help_key.activated.connect(self.show_help)

    def _add_sections(self, viewer: ViewerModel) -> None:
        self.explain = ExplainSection(viewer, self, key=shown_key(self._keys[Act.EXPLAIN]), reveal=self.body.reveal)
        self.score = ScoreLine(self)
        self.measurements = MeasurementsSection(self)
        # Sessions kept in one folder of their own have library and worklists there too.
        library = library_at(self._folder / "library.medlib" if self._folder is not None else None)
        next_key = shown_key(self._keys[Act.NEXT_CASE])
        self.library = LibrarySection(
            viewer, self, tell=self._tell, next_key=next_key, library=library, worklists=self._folder
        )
        self.body.add_section("Measurements", self.measurements)
        self.body.add_section("The next patient", self.library)
        self.body.add_section("Why is it so?", self.explain.box)
        self.body.add_section("Honest score", self.score)
        self.learner = LearnerSection(self, weights=self._preferences.weights_folder)
        if len(self.learner.names) > 1:
            self.body.add_section("Who proposes", self.learner)
        for part in (self.measurements, self.explain, self.score, self.library, self.learner):
            self.case_changed.connect(part.follow_case)

    def _wire(self, viewer: ViewerModel) -> None:
        self.body.open_box.wanted.connect(self._open_path)
        self.body.scan_box.scan_chosen.connect(self._choose_scan)
        self.body.scan_box.window_chosen.connect(self._choose_window)
        self.body.scan_box.plane_chosen.connect(self._with(self._choose_plane))
        self.body.strip.slice_chosen.connect(self._go_to)
        wire_table(self.body.table, self._with, add=self._add_structure)
        wire_painting(self.body.paint_box, self._with, set_mode=self._set_mode, use_labels=self._use_labels)
        wire_proposal(self.body.proposal_box, self._with, set_confidence=self._set_confidence)
        self.body.work_line.cancel_wanted.connect(self._with(lambda c: c.controller.cancel()))
        self._parts = PartChooser(self.body.too_large, self)
        self.body.too_large.region_wanted.connect(self._with(lambda c: self._work_on(self._parts.region(viewer, c))))
        self.body.too_large.coarser_wanted.connect(self._with(lambda c: self._work_on(self._parts.coarser(c))))
        self.saver.ended.connect(self._saved)
        self.saver.running_changed.connect(self.body.save_box.set_saving)
        self.body.save_box.save_wanted.connect(self._with(self._save))
        self.body.save_box.reopen_wanted.connect(self._with(self._reopen))
        self.body.save_box.restart_wanted.connect(self._with(self._restart))
        self.body.save_box.applications_wanted.connect(self.show_applications)
        self.body.save_box.help_wanted.connect(self.show_help)

    def _with(self, call: Callable[..., Any]) -> Callable[..., None]:
        """Return a slot that calls ``call`` with the open scan first, and says so when there is none."""

        def slot(*arguments: Any) -> None:
            if self.case is None:
                self.body.footer.set_message("Open a scan first.")
            else:
                call(self.case, *arguments)

        return slot

    def _prepare(self, case: Case) -> None:
        controller, layers = case.controller, case.layers
        controller.confidence_wanted = self._preferences.confidence
        controller.confidence_floor = self._preferences.hint_below
        layers.show_as_contour(self._preferences.contour)
        layers.wheel.in_use = self._preferences.wheel
        if not controller.structures and controller.session.auto_propose != self._preferences.automatic:
            controller.set_auto_propose(self._preferences.automatic)
        controller.changed.connect(self._changed)
        controller.looked.connect(self._looked)
        controller.told.connect(self._tell)
        controller.withdrawn.connect(self.body.footer.take_back)
        controller.failed.connect(self._show_error)
        wire_messages(self.body.footer, controller)
        controller.worked.connect(self._worked)
        controller.session.storage_failed.connect(self._storage_failed)
        layers.scan_removed.connect(self._scan_removed)
        layers.click_tool_changed.connect(self.body.paint_box.set_click_tool)
        layers.boxes.in_hand_changed.connect(self.body.paint_box.set_box_tool)
        self._windows = windows_for(np.asarray(case.image.data), controller.scan.modality)
        self.body.scan_box.set_windows(self._windows)
        self._bind(case)

    # -- keys ---------------------------------------------------------------------------------

    def _bind(self, case: Case) -> None:
        acts = case.acts()
        acts[Act.UNCERTAINTY] = self._toggle_uncertainty
        acts[Act.EXPLAIN] = self.explain.ask
        acts[Act.WINDOW] = partial(self._step_window, 1)
        acts[Act.WINDOW_BACK] = partial(self._step_window, -1)
        acts[Act.ADD_STRUCTURE] = self.body.table.focus_entry
        acts[Act.SAVE] = self.save
        acts[Act.NEXT_CASE] = self.library.next_case
        self._bindings.bind(acts, choose_number=case.controller.choose_number)
        case.layers.bind_to_segmentation(self._bindings.of(acts, (Act.UNDO, Act.REDO)))

    def save(self) -> None:
        """Ask where to save the segmentation, and save it."""
        self._with(self._save)()

    def use_labels(self) -> None:
        """Ask for a labels layer, and take its slices as examples."""
        self._with(self._use_labels)()

    def show_help(self) -> None:
        """List all keys."""
        KeyHelp(self._keys, self).show()

    def show_applications(self) -> None:
        """Dock the further uses of the examples beside this panel, or bring them to the front."""
        if self._viewer is not None:
            dock_applications(self._viewer, self)

    # -- news ---------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        self._refresh()

    def _looked(self, ref: SliceRef) -> None:
        self._refresh_slice()

    def _open_path(self, path: Path) -> None:
        if self._viewer is None:
            return
        try:
            open_scan(self._viewer, path)
        except MedmetaError as error:
            self._show_error(error)

    def _tell(self, text: str) -> None:
        self.body.footer.set_message(text)

    def _show_error(self, error: MedmetaError) -> None:
        self.body.footer.set_message(error.message, is_error=True)
        show_warning(error.message)
        if isinstance(error, VolumeTooLargeError) and self.case is not None:
            self._parts.refused(error, self.case.controller.scan.grid)

    def _work_on(self, grid: PartGrid | None) -> None:
        """Open a part of the scan as a scan of its own; its labels are saved on the whole scan's grid."""
        case = self.case
        if self._viewer is None or case is None or grid is None:
            return
        data, arguments = part_arguments(case.image, case.controller.scan, grid)
        case.image.visible = False
        layer = self._viewer.add_image(data, **arguments)
        self._seen.add(layer.unique_id)
        self.open_layer(layer)

    def _storage_failed(self, text: str) -> None:
        self.body.footer.set_message(text, is_error=True)
        if not self._retry.isActive():
            show_warning(text)
            self._retry.start()

    def _retry_storage(self) -> None:
        if self.case is None or self.case.controller.session.retry_storage():
            self._retry.stop()
            self.body.footer.set_message("The session is on disk again.")

    def _worked(self, work: Work) -> None:
        self.body.work_line.set_work(work.in_words, work.fraction)
        if self.case is not None:
            self.body.show_hint(self.case.controller)
        if work.device:
            self.body.footer.set_machine(f"Runs on {work.device} · about {_readable(work.memory_bytes)} for this scan")

    def _scan_removed(self) -> None:
        self.close_case()
        self.body.footer.set_message("The scan was closed. Its session is saved and goes on when you open it again.")
        self._layers_changed()
        self._refresh()

    def _layers_changed(self, event: object = None) -> None:
        # napari may still be in the middle of adding the layer.
        _soon(self._after_layers_changed)

    def _after_layers_changed(self) -> None:
        if self._viewer is None:
            return
        scans = self._scans()
        fresh = [layer for layer in scans if layer.unique_id not in self._seen]
        self._seen.update(layer.unique_id for layer in scans)
        if self.case is None and fresh:
            self.open_layer(fresh[-1])
        self._list_scans()

    # -- showing ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if self.case is None:
            self.body.show_nothing()
        else:
            self.body.show_session(self.case.controller)

    def _refresh_slice(self) -> None:
        if self.case is not None:
            self.body.show_slice(self.case.controller)

    def _list_scans(self) -> None:
        scans = self._scans()
        chosen = scans.index(self.case.image) if self.case is not None and self.case.image in scans else -1
        self.body.scan_box.set_scans([layer.name for layer in scans], chosen=chosen)

    def _scans(self) -> list[Image]:
        if self._viewer is None:
            return []
        ours = self.case.layers.uncertainty if self.case is not None else None
        return [layer for layer in self._viewer.layers if isinstance(layer, Image) and layer is not ours]

    # -- what the user wants ------------------------------------------------------------------

    def _choose_scan(self, number: int) -> None:
        scans = self._scans()
        if number < len(scans) and (self.case is None or scans[number] is not self.case.image):
            self.open_layer(scans[number])

    def _choose_window(self, number: int) -> None:
        if self.case is not None and number < len(self._windows):
            window = self._windows[number]
            self.case.image.contrast_limits = (window.low, window.high)

    def _step_window(self, step: int) -> None:
        if self._windows:
            number = (self.body.scan_box.chosen_window() + step) % len(self._windows)
            self.body.scan_box.choose_window(number)
            self._choose_window(number)
            self._tell(f"Window: {self._windows[number].name}.")

    def _choose_plane(self, case: Case, axis: int) -> None:
        case.layers.planes.turn(axis - case.controller.focus.axis)

    def _go_to(self, index: int) -> None:
        if self.case is not None:
            self.case.layers.go_to(SliceRef(self.case.controller.focus.axis, index))

    def _add_structure(self, case: Case, name: str) -> None:
        if case.controller.add_structure(name):
            case.paint_active()
        window = self.window()
        if window is not None:
            # The keys belong to the canvas again.
            window.setFocus()

    def _set_mode(self, case: Case, mode: PaintMode) -> None:
        case.controller.set_mode(mode)
        case.paint_active()

    def _set_confidence(self, case: Case, value: float) -> None:
        case.controller.confidence_wanted = value

    def _toggle_uncertainty(self) -> None:
        if self.case is not None:
            shown = self.case.layers.uncertainty is None
            self.body.proposal_box.set_uncertainty(shown)
            self.case.layers.show_uncertainty(shown)

    def _use_labels(self, case: Case) -> None:
        if self._viewer is None:
            return
        ours = (case.layers.segmentation, case.layers.proposal)
        others = [layer for layer in self._viewer.layers if isinstance(layer, Labels) and layer not in ours]
        if not others:
            self._tell("Open a label file first: drop it onto the window.")
            return
        chosen = ask_label_layer([layer.name for layer in others], self)
        if chosen is not None:
            case.use_layer(others[chosen])

    def _save(self, case: Case) -> None:
        answer = ask_save(case.controller.scan, open_proposals=case.controller.open_proposals(), parent=self)
        if answer is not None:
            self._tell(f"Saving {answer.path.name} …")
            self.saver.save(
                case.controller.save_job(answer.path, with_proposals=answer.with_proposals, anonymous=answer.anonymous)
            )

    def _saved(self, end: SaveEnd) -> None:
        if end.error is not None:
            self._show_error(end.error)
        elif end.written is not None:
            self._tell(f"Saved as {end.written.name} in {end.written.parent}.")
            show_info(self.message())
            if isinstance(end.job, SaveJob):
                self.library.saved(end.job.scan.source)

    def _reopen(self, case: Case) -> None:
        path = ask_session(case.controller.session.path, self)
        if path is None or path == case.controller.session.path:
            return
        scan = case.controller.scan
        try:
            session = Session.open(path, fingerprint=scan.fingerprint, geometry=scan.grid.working)
        except MedmetaError as error:
            self._show_error(error)
            return
        self.open_layer(case.image, session=session)

    def _restart(self, case: Case) -> None:
        opened = begin_session(case.controller.scan, folder=self._folder)
        self.open_layer(case.image, session=opened.session)
        self._tell(opened.note or "A new session was begun; the old one's file stays.")

    def _do_chore(self) -> None:
        if not self._chores.step():
            self._timer.stop()


def _make_segmenter(device: str, chosen: Answerer) -> Engine:
    # Imported here, in the background: the libraries behind it take seconds to load.
    from napari_medmeta.engine import Segmenter
    from napari_medmeta.engine.choices import engine_config

    return Segmenter(device=device, config=engine_config(chosen.learner, weights=chosen.weights))


def _readable(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _soon(call: Callable[[], None]) -> None:
    QTimer.singleShot(0, call)
