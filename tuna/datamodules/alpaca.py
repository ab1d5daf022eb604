"""Instruction tuning: responses as targets, nothing ranked."""

from tuna.datamodules.base import RecordDataModule
from tuna.datamodules.settings import TargetSettings


class AlpacaDataModule(TargetSettings, RecordDataModule):
    """Each record's original response as target (Eq. 2), all answers with targets=all. Arguments: TargetSettings."""
