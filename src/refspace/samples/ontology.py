"""The phantom's ontology: a selection of the Allen adult mouse brain ontology.

Ids, acronyms, names and colours are those of the Allen Institute's structure graph 1, so that
programs written for the CCF work here; only the names of layers are made uniform. Many ids need
more than 16 bits, and some more than the 24 that a float32 keeps exact, as in the real ontology.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator


class Structure(TypedDict):
    """A record as the constructor of a structure tree takes it."""

    acronym: str
    graph_id: int
    graph_order: int
    id: int
    name: str
    structure_id_path: list[int]
    rgb_triplet: list[int]
    structure_set_ids: list[int]


GRAPH_ID = 1
SUMMARY_SET = 167587189
"""Structures that together cover the grey matter and do not overlap."""
MAJOR_DIVISIONS_SET = 687527670
CORTEX_SET = 687527945
VISUAL_AREAS_SET = 514166994

_ISOCORTEX = 315
_SETS = {
    MAJOR_DIVISIONS_SET: (
        *("Isocortex", "OLF", "HPF", "CTXsp", "STR", "PAL"),
        *("TH", "HY", "MB", "P", "MY", "CB"),
    ),
    VISUAL_AREAS_SET: ("VISp", "VISl", "VISal", "VISpm", "VISam", "VISrl"),
}

EMPTY_STRUCTURE_IDS = frozenset(
    {
        12997,  # SS6a: the layer of a group of areas; the areas have their own
        391,  # CA1slm, and the other strata of CA1: not distinguished
        399,
        407,
        415,
        496345664,  # LGd-sh, LGd-co, LGd-ip: not distinguished
        496345668,
        496345672,
        615,  # SNl
        885,  # tn
        124,  # IVF
        1024,  # grv
        304325711,  # retina
    }
)
"""Structures without voxels at any resolution, as every real atlas has some."""

# Suffix, name and colour of the sheets of a structure, by the number of ids at the end of its row.
_SHEETS = {
    6: tuple((layer, f"layer {layer}", "") for layer in ("1", "2/3", "4", "5", "6a", "6b")),
    5: tuple((layer, f"layer {layer}", "") for layer in ("1", "2/3", "5", "6a", "6b")),
    2: (("mo", "molecular layer", ""), ("gr", "granular layer", "#ECE754")),
}

# id | acronym | name [| colour, where it is not the parent's] [| ids of the sheets]. The indent is
# the depth, an asterisk marks the summary structures, a backslash continues a long line.
_OUTLINE = """
997 | root | root | #FFFFFF
 8 | grey | Basic cell groups and regions | #BFDAE3
  567 | CH | Cerebrum | #B0F0FF
   688 | CTX | Cerebral cortex | #B0FFB8
    695 | CTXpl | Cortical plate | #70FF70
     315 | Isocortex | Isocortex | #70FF71
      184* | FRP | Frontal pole, cerebral cortex | #268F45 | 68 667 526157192 526157196 526322264
      500 | MO | Somatomotor areas | #1F9D5A
       985* | MOp | Primary motor area | 320 943 648 844 882
       993* | MOs | Secondary motor area | 656 962 767 1021 1085
      453 | SS | Somatosensory areas | #188064
       12997 | SS6a | Somatosensory areas, layer 6a
       322 | SSp | Primary somatosensory area
        353* | SSp-n | Primary somatosensory area, nose | 558 838 654 702 889 929
        329* | SSp-bfd | Primary somatosensory area, barrel field | 981 201 1047 1070 1038 1062
        337* | SSp-ll | Primary somatosensory area, lower limb | 1030 113 1094 1128 478 510
        345* | SSp-m | Primary somatosensory area, mouth | 878 657 950 974 1102 2
        369* | SSp-ul | Primary somatosensory area, upper limb | 450 854 577 625 945 1026
       378* | SSs | Supplemental somatosensory area | 873 806 1035 1090 862 893
      677* | VISC | Visceral area | #11AD83 | 897 1106 1010 1058 857 849
      247 | AUD | Auditory areas | #019399
       1011* | AUDd | Dorsal auditory area | 527 600 678 252 156 243
       1002* | AUDp | Primary auditory area | 735 251 816 847 954 1005
       1018* | AUDv | Ventral auditory area | 959 755 990 1023 520 598
      669 | VIS | Visual areas | #08858C
       402* | VISal | Anterolateral visual area | 1074 905 1114 233 601 649
       394* | VISam | Anteromedial visual area | 281 1066 401 433 1046 441
       409* | VISl | Lateral visual area | 421 973 573 613 74 121
       385* | VISp | Primary visual area | 593 821 721 778 33 305
       533* | VISpm | posteromedial visual area | 805 41 501 565 257 469
      31 | ACA | Anterior cingulate area | #40A666
       39* | ACAd | Anterior cingulate area, dorsal part | 935 211 1015 919 927
       48* | ACAv | Anterior cingulate area, ventral part | 588 296 772 810 819
      972* | PL | Prelimbic area | #2FA850 | 171 304 363 84 132
      714 | ORB | Orbital area | #248A5E
       723* | ORBl | Orbital area, lateral part | 448 412 630 440 488
      95 | AI | Agranular insular area | #219866
       104* | AId | Agranular insular area, dorsal part | 996 328 1101 783 831
       111* | AIp | Agranular insular area, posterior part | 120 163 344 314 355
      254 | RSP | Retrosplenial area | #1AA698
       894* | RSPagl | Retrosplenial area, lateral agranular part | 671 965 774 906 279
       879* | RSPd | Retrosplenial area, dorsal part | 442 434 610 274 330
       886* | RSPv | Retrosplenial area, ventral part | 542 430 687 590 622
      22 | PTLp | Posterior parietal association areas | #009FAC
       312782546* | VISa | Anterior area | \
         312782550 312782554 312782558 312782562 312782566 312782570
       417* | VISrl | Rostrolateral visual area | \
         312782604 312782608 312782612 312782616 312782620 312782624
      541* | TEa | Temporal association areas | #15B0B3 | 97 1127 234 289 729 786
      895* | ECT | Ectorhinal area | #0D9F91 | 836 427 988 977 1045
     698 | OLF | Olfactory areas | #9AD2BD
      507* | MOB | Main olfactory bulb
       212 | MOBgl | Main olfactory bulb, glomerular layer | #82C7AE
       220 | MOBgr | Main olfactory bulb, granule layer | #82C7AE
       228 | MOBipl | Main olfactory bulb, inner plexiform layer
       236 | MOBmi | Main olfactory bulb, mitral layer | #82C7AE
       244 | MOBopl | Main olfactory bulb, outer plexiform layer
      159* | AON | Anterior olfactory nucleus | #54BF94
      589* | TT | Taenia tecta | #62D09F
      961* | PIR | Piriform area | #6ACBBA
      631* | COA | Cortical amygdalar area | #61E7B7
     1089 | HPF | Hippocampal formation | #7ED04B
      1080 | HIP | Hippocampal region
       375 | CA | Ammon's horn
        382* | CA1 | Field CA1
         391 | CA1slm | Field CA1, stratum lacunosum-moleculare
         399 | CA1so | Field CA1, stratum oriens
         407 | CA1sp | Field CA1, pyramidal layer | #66A83D
         415 | CA1sr | Field CA1, stratum radiatum
        423* | CA2 | Field CA2
        463* | CA3 | Field CA3
       726* | DG | Dentate gyrus
        10703 | DG-mo | Dentate gyrus, molecular layer
        10704 | DG-po | Dentate gyrus, polymorph layer
        632 | DG-sg | Dentate gyrus, granule cell layer | #66A83D
      822 | RHP | Retrohippocampal region | #32B825
       909 | ENT | Entorhinal area
        918* | ENTl | Entorhinal area, lateral part
         1121 | ENTl1 | Entorhinal area, lateral part, layer 1
         20 | ENTl2 | Entorhinal area, lateral part, layer 2
         52 | ENTl3 | Entorhinal area, lateral part, layer 3
         139 | ENTl5 | Entorhinal area, lateral part, layer 5
         28 | ENTl6a | Entorhinal area, lateral part, layer 6a
        926* | ENTm | Entorhinal area, medial part, dorsal zone
       1084* | PRE | Presubiculum | #59B947
       502* | SUB | Subiculum | #4FC244
    703 | CTXsp | Cortical subplate | #8ADA87
     942 | EP | Endopiriform nucleus | #A0EE9D
      952* | EPd | Endopiriform nucleus, dorsal part
     131* | LA | Lateral amygdalar nucleus | #90EB8D
     295* | BLA | Basolateral amygdalar nucleus | #9DE79C
     319* | BMA | Basomedial amygdalar nucleus | #84EA81
   623 | CNU | Cerebral nuclei | #98D6F9
    477 | STR | Striatum
     485 | STRd | Striatum dorsal region
      672* | CP | Caudoputamen
     493 | STRv | Striatum ventral region | #80CDF8
      56* | ACB | Nucleus accumbens
      754* | OT | Olfactory tubercle
     275 | LSX | Lateral septal complex | #90CBED
      242* | LS | Lateral septal nucleus
     278 | sAMY | Striatum-like amygdalar nuclei | #80C0E2
      536* | CEA | Central amygdalar nucleus
      403* | MEA | Medial amygdalar nucleus
    803 | PAL | Pallidum | #8599CC
     818 | PALd | Pallidum, dorsal region
      1022* | GPe | Globus pallidus, external segment
      1031* | GPi | Globus pallidus, internal segment
     835 | PALv | Pallidum, ventral region | #A2B1D8
      342* | SI | Substantia innominata
     826 | PALm | Pallidum, medial region | #96A7D3
      904 | MSC | Medial septal complex
       564* | MS | Medial septal nucleus
     809 | PALc | Pallidum, caudal region | #B3C0DF
      351* | BST | Bed nuclei of the stria terminalis
  343 | BS | Brain stem | #FF7080
   1129 | IB | Interbrain
    549 | TH | Thalamus
     864 | DORsm | Thalamus, sensory-motor cortex related | #FF8084
      637 | VENT | Ventral group of the dorsal thalamus
       629* | VAL | Ventral anterior-lateral complex of the thalamus
       685* | VM | Ventral medial nucleus of the thalamus
       709 | VP | Ventral posterior complex of the thalamus
        718* | VPL | Ventral posterolateral nucleus of the thalamus
        733* | VPM | Ventral posteromedial nucleus of the thalamus
      1008 | GENd | Geniculate group, dorsal thalamus
       475* | MG | Medial geniculate complex
       170* | LGd | Dorsal part of the lateral geniculate complex
        496345664 | LGd-sh | Dorsal part of the lateral geniculate complex, shell
        496345668 | LGd-co | Dorsal part of the lateral geniculate complex, core
        496345672 | LGd-ip | Dorsal part of the lateral geniculate complex, ipsilateral zone
     856 | DORpm | Thalamus, polymodal association cortex related | #FF909F
      138 | LAT | Lateral group of the dorsal thalamus
       218* | LP | Lateral posterior nucleus of the thalamus
       1020* | PO | Posterior complex of the thalamus
      239 | ATN | Anterior group of the dorsal thalamus
       255* | AV | Anteroventral nucleus of thalamus
       155* | LD | Lateral dorsal nucleus of thalamus
      444 | MED | Medial group of the dorsal thalamus
       362* | MD | Mediodorsal nucleus of thalamus
      571 | MTN | Midline group of the dorsal thalamus
       149* | PVT | Paraventricular nucleus of the thalamus
       181* | RE | Nucleus of reuniens
      51 | ILM | Intralaminar nuclei of the dorsal thalamus
       599* | CM | Central medial nucleus of the thalamus
       575* | CL | Central lateral nucleus of the thalamus
       930* | PF | Parafascicular nucleus
      262* | RT | Reticular nucleus of the thalamus
      958 | EPI | Epithalamus
       483* | MH | Medial habenula
       186* | LH | Lateral habenula
    1097 | HY | Hypothalamus | #E64438
     157 | PVZ | Periventricular zone | #FF5D50
      38* | PVH | Paraventricular hypothalamic nucleus
     141 | PVR | Periventricular region | #FF5547
      830* | DMH | Dorsomedial nucleus of the hypothalamus
      523* | MPO | Medial preoptic area
     467 | MEZ | Hypothalamic medial zone | #FF4C3E
      88* | AHN | Anterior hypothalamic nucleus
      331 | MBO | Mammillary body
       491* | MM | Medial mammillary nucleus
        606826647 | MMl | Medial mammillary nucleus, lateral part
        606826651 | MMm | Medial mammillary nucleus, medial part
      693* | VMH | Ventromedial hypothalamic nucleus
      946* | PH | Posterior hypothalamic nucleus
     290 | LZ | Hypothalamic lateral zone | #F2483B
      194* | LHA | Lateral hypothalamic area
      470* | STN | Subthalamic nucleus
      797* | ZI | Zona incerta
   313 | MB | Midbrain | #FF64FF
    339 | MBsen | Midbrain, sensory related | #FF7AFF
     302* | SCs | Superior colliculus, sensory related
      851 | SCop | Superior colliculus, optic layer
      842 | SCsg | Superior colliculus, superficial gray layer
      834 | SCzo | Superior colliculus, zonal layer
     4 | IC | Inferior colliculus
      811* | ICc | Inferior colliculus, central nucleus
      820* | ICd | Inferior colliculus, dorsal nucleus
      828* | ICe | Inferior colliculus, external nucleus
    323 | MBmot | Midbrain, motor related | #FF90FF
     381* | SNr | Substantia nigra, reticular part
     749* | VTA | Ventral tegmental area
     128* | MRN | Midbrain reticular nucleus
     294* | SCm | Superior colliculus, motor related
      26 | SCdg | Superior colliculus, motor related, deep gray layer
      42 | SCdw | Superior colliculus, motor related, deep white layer
      17 | SCiw | Superior colliculus, motor related, intermediate white layer
      10 | SCig | Superior colliculus, motor related, intermediate gray layer
     795* | PAG | Periaqueductal gray
      614454277 | Su3 | Supraoculomotor periaqueductal gray
     1100 | PRT | Pretectal region
      215* | APN | Anterior pretectal nucleus
     616* | CUN | Cuneiform nucleus
     214* | RN | Red nucleus
     615 | SNl | Substantia nigra, lateral part
    348 | MBsta | Midbrain, behavioral state related | #FF90FF
     374* | SNc | Substantia nigra, compact part | #FFA6FF
   1065 | HB | Hindbrain | #FF9B88
    771 | P | Pons
     1132 | P-sen | Pons, sensory related | #FFAE6F
      612* | NLL | Nucleus of the lateral lemniscus
      7* | PSV | Principal sensory nucleus of the trigeminal
      867* | PB | Parabrachial nucleus
      398* | SOC | Superior olivary complex
     987 | P-mot | Pons, motor related | #FFBA86
      931* | PG | Pontine gray
      574* | TRN | Tegmental reticular nucleus
      621* | V | Motor nucleus of trigeminal
     1117 | P-sat | Pons, behavioral state related | #FFC395
      146* | PRNr | Pontine reticular nucleus
    354 | MY | Medulla | #FF9BCD
     386 | MY-sen | Medulla, sensory related | #FFA5D2
      607* | CN | Cochlear nuclei
      720 | DCN | Dorsal column nuclei
       711* | CU | Cuneate nucleus
      651* | NTS | Nucleus of the solitary tract
      429* | SPVC | Spinal nucleus of the trigeminal, caudal part
      437* | SPVI | Spinal nucleus of the trigeminal, interpolar part
     370 | MY-mot | Medulla, motor related | #FFB3D9
      661* | VII | Facial motor nucleus
      1048* | GRN | Gigantocellular reticular nucleus
      83* | IO | Inferior olivary complex
      136* | IRN | Intermediate reticular nucleus
      395* | MDRN | Medullary reticular nucleus
      852* | PARN | Parvicellular reticular nucleus
      701 | VNC | Vestibular nuclei
       202* | MV | Medial vestibular nucleus
       225* | SPIV | Spinal vestibular nucleus
      773* | XII | Hypoglossal nucleus
  512 | CB | Cerebellum | #F0F080
   528 | CBX | Cerebellar cortex
    645 | VERM | Vermal regions | #FFFC91
     920 | CENT | Central lobule
      984* | CENT3 | Lobule III | 10713 10711
     928 | CUL | Culmen
      1091* | CUL4, 5 | Lobules IV-V | 10722 10720
     936* | DEC | Declive (VI) | 10725 10723
     951* | PYR | Pyramus (VIII) | 10731 10729
     957* | UVU | Uvula (IX) | 10734 10732
     968* | NOD | Nodulus (X) | 10737 10735
    1073 | HEM | Hemispheric regions | #FFFC91
     1007* | SIM | Simple lobule | 10674 10672
     1017 | AN | Ansiform lobule
      1056* | ANcr1 | Crus 1 | 10677 10675
      1064* | ANcr2 | Crus 2 | 10680 10678
     1025* | PRM | Paramedian lobule | 10683 10681
     1041* | PFL | Paraflocculus | 10689 10687
   519 | CBN | Cerebellar nuclei
    989* | FN | Fastigial nucleus | #FFFDBC
    91* | IP | Interposed nucleus | #FFFDBC
    846* | DN | Dentate nucleus | #FFFDBC
 1009 | fiber tracts | fiber tracts | #CCCCCC
  967 | cm | cranial nerves
   885 | tn | terminal nerve
   840 | In | olfactory nerve
    900 | aco | anterior commissure, olfactory limb
   848 | IIn | optic nerve
    125 | opt | optic tract
   901 | Vn | trigeminal nerve
    229 | sV | sensory root of the trigeminal nerve
     794 | sptV | spinal tract of the trigeminal nerve
  960 | cbf | cerebellum related fiber tracts
   752 | cbp | cerebellar peduncles
    78 | mcp | middle cerebellar peduncle
   728 | arb | arbor vitae
  983 | lfbs | lateral forebrain bundle system
   776 | cc | corpus callosum
    956 | fa | corpus callosum, anterior forceps
     579 | ec | external capsule
    1108 | ccg | genu of corpus callosum
    971 | fp | corpus callosum, posterior forceps
    484682516 | ccb | corpus callosum, body
    986 | ccs | corpus callosum, splenium
   784 | cst | corticospinal tract
    6 | int | internal capsule
    924 | cpd | cerebal peduncle
    190 | py | pyramid
  991 | mfbs | medial forebrain bundle system
   768 | mfbc | cerebrum related
    908 | act | anterior commissure, temporal limb
    940 | cing | cingulum bundle
    1099 | fxs | fornix system
     466 | alv | alveus
     603 | fi | fimbria
     737 | fxpo | postcommissural fornix
      436 | fx | columns of the fornix
 73 | VS | ventricular systems | #AAAAAA
  81 | VL | lateral ventricle
  124 | IVF | interventricular foramen
  129 | V3 | third ventricle
  140 | AQ | cerebral aqueduct
  145 | V4 | fourth ventricle
  164 | c | central canal, spinal cord/medulla
 1024 | grv | grooves | #AAAAAA
 304325711 | retina | retina | #7F2E7E
"""


def structures() -> list[Structure]:
    """Build the structures, depth first, parents before children.

    Returns
    -------
    list[Structure]
        New records in the form that AllenSDK calls cleaned; lists are not shared.
    """
    nodes: list[Structure] = []
    ancestors: list[Structure] = []
    for depth, identifier, acronym, name, colour in _rows():
        del ancestors[depth:]
        structure_id = int(identifier.rstrip("*"))
        path = [ancestor["id"] for ancestor in ancestors] + [structure_id]
        rgb = list(bytes.fromhex(colour[1:]) if colour else ancestors[-1]["rgb_triplet"])
        node = Structure(
            acronym=acronym,
            graph_id=GRAPH_ID,
            graph_order=len(nodes),
            id=structure_id,
            name=name,
            structure_id_path=path,
            rgb_triplet=rgb,
            structure_set_ids=_structure_sets(acronym, path, summary=identifier.endswith("*")),
        )
        nodes.append(node)
        ancestors.append(node)
    return nodes


def _rows() -> Iterator[tuple[int, str, str, str, str]]:
    """Rows of the outline with the sheets written out: depth, id, acronym, name, colour or ""."""
    for line in _OUTLINE.strip().splitlines():
        depth = len(line) - len(line.lstrip())
        identifier, acronym, name, *more = (field.strip() for field in line.split("|"))
        colour = next((field for field in more if field.startswith("#")), "")
        yield depth, identifier, acronym, name, colour
        sheet_ids = [sheet_id for field in more if field != colour for sheet_id in field.split()]
        if sheet_ids:
            for sheet_id, (suffix, label, tint) in zip(
                sheet_ids, _SHEETS[len(sheet_ids)], strict=True
            ):
                yield depth + 1, sheet_id, acronym + suffix, f"{name}, {label}", tint


def _structure_sets(acronym: str, path: list[int], *, summary: bool) -> list[int]:
    """Ids of the sets of a structure, sorted."""
    sets = [set_id for set_id, members in _SETS.items() if acronym in members]
    if summary:
        sets.append(SUMMARY_SET)
        if _ISOCORTEX in path:
            sets.append(CORTEX_SET)
    return sorted(sets)


STRUCTURES = structures()
"""The structures, depth first."""

STRUCTURE_ID = {structure["acronym"]: structure["id"] for structure in STRUCTURES}
"""Structure ids by acronym."""
