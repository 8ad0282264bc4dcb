"""From a structure's name to the code that other programs understand; an unknown name stays "Tissue".

Codes are those of SNOMED CT that DICOM uses (PS3.16), taken from pydicom's dictionary by name.
Categories are those of CID 7150, left and right those of CID 244.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["SegmentCode", "segment_code"]

ORGANS = MappingProxyType({
    "adipose tissue": "AdiposeTissue", "adrenal gland": "AdrenalGland", "aorta": "Aorta", "bladder": "Bladder",
    "bone": "Bone", "brain": "Brain", "brainstem": "BrainStem", "breast": "Breast", "cerebellum": "Cerebellum",
    "clavicle": "Clavicle", "colon": "Colon", "duodenum": "Duodenum", "esophagus": "Esophagus", "eye": "Eye",
    "femur": "Femur", "gallbladder": "Gallbladder", "gray matter": "GrayMatter", "heart": "Heart",
    "hepatic vein": "HepaticVein", "hippocampus": "Hippocampus", "humerus": "Humerus",
    "inferior vena cava": "InferiorVenaCava", "kidney": "Kidney", "larynx": "Larynx", "left atrium": "LeftAtrium",
    "left ventricle": "LeftVentricle", "liver": "Liver", "lung": "Lung", "lymph node": "LymphNode",
    "mandible": "Mandible", "muscle": "Muscle", "optic nerve": "OpticNerve", "ovary": "Ovary",
    "pancreas": "Pancreas", "parotid gland": "ParotidGland", "patella": "Patella", "pelvis": "Pelvis",
    "portal vein": "PortalVein", "prostate": "Prostate", "pulmonary artery": "PulmonaryArtery",
    "rectum": "Rectum", "rib": "Rib", "right atrium": "RightAtrium", "right ventricle": "RightVentricle",
    "sacrum": "Sacrum", "scapula": "Scapula", "skin": "Skin", "skull": "Skull", "small bowel": "SmallIntestine",
    "spinal cord": "SpinalCord", "spine": "Spine", "spleen": "Spleen", "splenic vein": "SplenicVein",
    "sternum": "Sternum", "stomach": "Stomach", "superior vena cava": "SuperiorVenaCava", "testis": "Testis",
    "thalamus": "Thalamus", "thyroid": "Thyroid", "tibia": "Tibia", "tongue": "Tongue", "trachea": "Trachea",
    "uterus": "Uterus", "vertebra": "Vertebra", "white matter": "WhiteMatter",
})  # fmt: skip

FINDINGS = MappingProxyType({
    "aneurysm": "Aneurysm", "cyst": "Cyst", "edema": "Edema", "effusion": "Effusion", "hemorrhage": "Hemorrhage",
    "lesion": "Lesion", "mass": "Mass", "metastasis": "Metastasis", "necrosis": "Necrosis",
    "neoplasm": "Neoplasm", "nodule": "Nodule", "thrombus": "Thrombus", "tumor": "Neoplasm",
})  # fmt: skip

SAME = MappingProxyType({
    "brain stem": "brainstem", "fat": "adipose tissue", "gall bladder": "gallbladder", "gray": "gray matter",
    "grey matter": "gray matter", "haemorrhage": "hemorrhage", "ivc": "inferior vena cava",
    "oedema": "edema", "oesophagus": "esophagus", "small intestine": "small bowel", "svc": "superior vena cava",
    "thyroid gland": "thyroid", "tumour": "tumor", "urinary bladder": "bladder",
})  # fmt: skip
"""Other spellings of the same thing."""

MYOCARDIUM = Code("74281007", "SCT", "Myocardium")
"""Missing in pydicom's dictionary, which knows the myocardium of single regions only."""


@dataclass(frozen=True, slots=True)
class SegmentCode:
    """Category and type of a segment, and the side (left or right) where the name says one."""

    category: Code
    type: Code
    side: Code | None = None


def segment_code(name: str) -> SegmentCode:
    """Return the code of a structure's name; small or capital letters, "Kidney left" and "left kidney" alike.

    A name that is not in the list gets the generic code "Tissue": the label beside it still tells what
    the user called it, and nothing is claimed that is not known.
    """
    words = re.sub(r"[\W_]+", " ", name.casefold()).strip()
    known = _coded(words)
    if known is not None:
        return SegmentCode(*known)
    for side, code in (("left", codes.SCT.Left), ("right", codes.SCT.Right)):
        rest = words.removeprefix(f"{side} ") if words.startswith(f"{side} ") else words.removesuffix(f" {side}")
        known = _coded(rest) if rest != words else None
        if known is not None:
            return SegmentCode(*known, side=code)
    return SegmentCode(codes.SCT.Tissue, codes.SCT.Tissue)


def _coded(words: str) -> tuple[Code, Code] | None:
    words = SAME.get(words, words)
    if words == "myocardium":
        return codes.SCT.AnatomicalStructure, MYOCARDIUM
    if words in ORGANS:
        return codes.SCT.AnatomicalStructure, getattr(codes.SCT, ORGANS[words])
    if words in FINDINGS:
        return codes.SCT.MorphologicallyAbnormalStructure, getattr(codes.SCT, FINDINGS[words])
    return None
