"""Room on the disks, asked before a video is bought: it needs a place, and its cost must be written down."""

from __future__ import annotations

from callsheet.engine.studio import Studio
from callsheet.files import require_space

SPARE_BYTES = 256 * 2**20
"""What must be free where the videos go: ten of the largest clips, and the report beside them."""

LEDGER_SPARE_BYTES = 64 * 2**20
"""What must be free where the ledger is, and Prefect's own database: ten replies of the largest size, which
are booked while nothing new is bought, and the journal."""


def require_room(studio: Studio) -> None:
    """Raise DiskFull, naming the folder, where there is too little room to buy one more video."""
    require_space(studio.folder, SPARE_BYTES, instead="choose another output folder")
    folder = studio.desk.ledger.folder or studio.settings.data_dir
    require_space(folder, LEDGER_SPARE_BYTES, instead="move the ledger to another disk")
