"""Codecs: what zarr writes is decoded alike, nothing grows beyond its chunk, few are allowed."""

import json
import lzma
import re
import warnings

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr
from helpers.bombs import ENCODERS, little_memory, zarray
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.codecs import numcodecs as in_v3
from zarr.errors import ZarrUserWarning

from refspace.errors import FormatError
from refspace.limits import set_limits
from refspace.store.codecs import array_decoder
from refspace.store.codecs.inflate import zstd_content_size
from refspace.store.decode import decode_block

SHAPE = (4, 5, 6)
BOX = (slice(1, 3), slice(2, 5), slice(0, 1))
V2 = {
    codec.codec_id: codec
    for codec in (
        *(numcodecs.Zstd(), numcodecs.Blosc(), numcodecs.GZip(), numcodecs.Zlib()),
        *(numcodecs.LZ4(), numcodecs.BZ2(), numcodecs.LZMA()),
    )
}


def made(factory, **options):
    """Codec of numcodecs in zarr v3, which warns of all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        return factory(**options)


def stored(dtype, zarr_format=3, **how):
    """Array of one block as zarr reads it, and the content of its object."""
    values = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, SHAPE)
    store = zarr.storage.MemoryStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        array = zarr.create_array(
            store,
            name="a",
            shape=SHAPE,
            dtype=dtype,
            zarr_format=zarr_format,
            **({"chunks": SHAPE} | how),
        )
        array[...] = values.astype(dtype)
    return array, store._store_dict["a/c/0/0/0" if zarr_format == 3 else "a/0.0.0"].to_bytes()


def check(array, data):
    whole, part = decode_block(array, data), decode_block(array, data, BOX)
    np.testing.assert_array_equal(whole, array[...])
    np.testing.assert_array_equal(part, array[...][BOX])
    whole[...] = 1  # may be written to
    part[...] = 1


# ----- what zarr writes


@pytest.mark.parametrize("dtype", ["bool", "u1", "<i2", ">u4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressor", [None, *V2])
def test_compressors_of_zarr_2(dtype, order, compressor):
    check(*stored(dtype, 2, order=order, compressors=V2.get(compressor)))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u4", "<f8"])
@pytest.mark.parametrize(
    "names",
    [
        *(["delta"], ["shuffle"], ["crc32"], ["adler32"], ["fletcher32"], ["zlib"], ["crc32c"]),
        *(["delta", "shuffle"], ["shuffle", "bz2"], ["astype"], ["fixedscaleoffset"]),
    ],
    ids="+".join,
)
def test_filters_of_zarr_2(dtype, names):
    options = {
        "delta": {"dtype": dtype},
        "shuffle": {"elementsize": np.dtype(dtype).itemsize},
        "astype": {"encode_dtype": "<f8", "decode_dtype": dtype},
        "fixedscaleoffset": {"offset": 0, "scale": 1, "dtype": dtype, "astype": "<u2"},
    }
    filters = [numcodecs.get_codec({"id": name, **options.get(name, {})}) for name in names]
    check(*stored(dtype, 2, filters=filters, compressors=numcodecs.Blosc()))


@pytest.mark.parametrize("sharding", [{}, {"chunks": (2, 5, 3), "shards": SHAPE}])
@pytest.mark.parametrize("dtype", ["bool", ">u4", "<f4"])
@pytest.mark.parametrize(
    "compressors",
    [
        (),
        (ZstdCodec(),),
        (BloscCodec(),),
        (GzipCodec(), ZstdCodec()),
        (ZstdCodec(), Crc32cCodec()),
        *((made(c),) for c in (in_v3.LZ4, in_v3.BZ2, in_v3.LZMA, in_v3.Zlib, in_v3.Zstd)),
        *((made(c),) for c in (in_v3.CRC32, in_v3.Adler32, in_v3.Fletcher32, in_v3.CRC32C)),
        (made(in_v3.Shuffle, elementsize=2), made(in_v3.GZip), made(in_v3.Blosc)),
    ],
    ids=lambda codecs: "+".join(type(codec).__name__ for codec in codecs),
)
def test_compressors_of_zarr_3(sharding, dtype, compressors):
    check(*stored(dtype, compressors=compressors, **sharding))


@pytest.mark.parametrize("sharding", [{}, {"chunks": (2, 5, 3), "shards": SHAPE}])
@pytest.mark.parametrize(
    ("dtype", "filters"),
    [
        ("<u4", [TransposeCodec(order=(2, 0, 1))]),
        ("<u4", [made(in_v3.Delta, dtype="<u4")]),
        ("<u4", [made(in_v3.Delta, dtype="<u4", astype="<u2")]),
        ("<u4", [made(in_v3.FixedScaleOffset, offset=0, scale=1, astype="u1")]),
        ("<u4", [made(in_v3.AsType, encode_dtype="f8", decode_dtype="u4")]),
        ("<u4", [TransposeCodec(order=(1, 2, 0)), made(in_v3.Delta, dtype="<u4")]),
        ("<f4", [made(in_v3.BitRound, keepbits=20)]),
        ("<f4", [made(in_v3.Quantize, digits=2, dtype="<f4")]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1].__class__.__name__,
)
def test_filters_of_zarr_3(sharding, dtype, filters):
    check(*stored(dtype, filters=filters, **sharding))


def test_bits():
    check(*stored("bool", filters=[made(in_v3.PackBits)]))
    check(*stored("bool", 2, filters=[numcodecs.PackBits()]))


@pytest.mark.parametrize("location", ["start", "end"])
def test_shards_with_absent_chunks(location):
    store = zarr.storage.MemoryStore()
    array = zarr.create(
        (4, 4),
        store=store,
        dtype="u2",
        chunks=(4, 4),
        fill_value=9,
        codecs=[
            zarr.codecs.ShardingCodec(
                chunk_shape=(2, 2), codecs=[zarr.codecs.BytesCodec()], index_location=location
            )
        ],
    )
    array[:2, :2] = [[1, 2], [3, 4]]
    data = store._store_dict["c/0/0"].to_bytes()
    np.testing.assert_array_equal(decode_block(array, data), array[...])
    part = decode_block(array, data, (slice(1, 4), slice(1, 2)))
    np.testing.assert_array_equal(part, array[1:4, 1:2])


@pytest.mark.parametrize(
    ("order", "index_codecs"), [(">", [{"name": "bytes", "configuration": {"endian": "big"}}])]
)
def test_shards_within_shards_and_other_indices(order, index_codecs):
    inner = {"chunk_shape": [1], "codecs": ["bytes"], "index_codecs": ["bytes", "crc32c"]}
    middle = {
        "chunk_shape": [2],
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
        "index_codecs": index_codecs,
    }
    document = zarr_json([4], "uint8", [{"name": "sharding_indexed", "configuration": middle}])
    index = np.array([[0, 1], [1, 1]], "<u8").tobytes()
    one = b"\1\2" + index + google_crc32c.value(index).to_bytes(4, "little")
    two = b"\3\4" + one[2:]
    outer = np.array([[0, len(one)], [len(one), len(two)]], f"{order}u8").tobytes()
    assert array_decoder(document).decode(one + two + outer).tolist() == [1, 2, 3, 4]


def zarr_json(shape, data_type, codecs, chunks=None, **fields):
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": shape if chunks is None else chunks},
        },
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
        **fields,
    }


# ----- no more than a chunk


@pytest.mark.promise("the frame of a chunk announces another size than its shape")
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("content", [2**25, 481, 479, 0])
def test_frames_of_another_size_are_refused_before_they_grow(name, content):
    configuration, encode = ENCODERS[name]
    decoder = array_decoder(zarray(SHAPE, compressor=configuration))
    assert not decoder.decode(encode(bytes(480))).any()
    frame = encode(bytes(content))
    with little_memory(), pytest.raises((ValueError, RuntimeError, EOFError)):
        decoder.decode(frame)


@pytest.mark.parametrize("name", ENCODERS)
def test_filters_bound_what_is_before_them(name):
    configuration, encode = ENCODERS[name]
    decoder = array_decoder(zarray((120,), filters=[configuration, {"id": "crc32"}]))
    frame = numcodecs.CRC32().encode(encode(bytes(2**25)))
    with little_memory(), pytest.raises((ValueError, RuntimeError)):
        decoder.decode(frame.tobytes())
    assert not decoder.decode(numcodecs.CRC32().encode(encode(bytes(480))).tobytes()).any()


def test_frames_within_frames():
    decoder = array_decoder(zarray((120,), filters=[{"id": "zlib"}], compressor={"id": "zstd"}))
    inner, outer = numcodecs.Zlib(), numcodecs.Zstd()
    assert not decoder.decode(outer.encode(inner.encode(bytes(480)))).any()
    for frame in (outer.encode(bytes(2**25)), outer.encode(inner.encode(bytes(2**25)))):
        with little_memory(), pytest.raises(ValueError, match="expected"):
            decoder.decode(frame)
    with pytest.raises(ValueError, match="does not state its size, which nothing else tells"):
        decoder.decode(ENCODERS["zstd without a size"][1](bytes(480)))


@pytest.mark.parametrize(
    ("compressor", "frame", "text"),
    [
        ("zstd", b"", "it is no zstd frame"),
        ("zstd", b"\x28\xb5\x2f\xfd\xa0\1\2", "ends within its header"),
        ("blosc", bytes(15), "ends within its header"),
        ("blosc", bytes(16), "it takes 0 bytes; it has 16"),
        ("lz4", bytes(3), "ends within its header"),
        ("gzip", ENCODERS["gzip"][1](bytes(480))[:-9], "is cut short"),
        ("zlib", ENCODERS["zlib"][1](bytes(480)) + b"more", "incorrect header check"),
        ("bz2", ENCODERS["bz2"][1](bytes(480))[:-1], "is cut short"),
        (None, bytes(481), "it has 481 bytes, where 480 are expected"),
        (None, bytes(479), "it has 479 bytes, where 480 are expected"),
    ],
    # What gzip makes has the time in it.
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value),
)
def test_frames_that_are_none(compressor, frame, text):
    configuration = None if compressor is None else {"id": compressor}
    with pytest.raises(Exception, match=text):
        array_decoder(zarray(SHAPE, compressor=configuration)).decode(frame)


def test_a_dictionary_that_lzma_asks_memory_for():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    frame = lzma.compress(bytes(480), filters=filters)
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        array_decoder(zarray(SHAPE, compressor={"id": "lzma"})).decode(frame)


def test_empty_chunks_of_nothing():
    for name in ("blosc", "lz4"):
        frame = ENCODERS[name][1](b"")
        decoder = array_decoder(zarray((1,), compressor={"id": name}))
        with pytest.raises(ValueError, match="announces 0 bytes, where 4 are expected"):
            decoder.decode(frame)


@pytest.mark.promise("the frame of a chunk announces another size than its shape")
def test_shards_whose_chunks_grow():
    array, data = stored("<u4", chunks=(2, 5, 3), shards=SHAPE, compressors=[ZstdCodec()])
    index = np.frombuffer(data[-68:-4], "<u8").reshape(-1, 2).copy()
    bomb = numcodecs.zstd.compress(bytes(2**25))

    def rewritten(row, offset, length):
        changed = index.copy()
        changed[row] = offset, length
        table = changed.tobytes()
        crc = google_crc32c.value(table).to_bytes(4, "little")
        return data[:-68] + bomb + table + crc

    with little_memory(), pytest.raises(ValueError, match="announces 33554432 bytes, where 120"):
        decode_block(array, rewritten(1, len(data) - 68, len(bomb)))
    for place in ((2**40, 5), (5, 2**40), (2**64 - 2, 2**64 - 1)):
        with pytest.raises(ValueError, match="ends behind the shard"):
            decode_block(array, rewritten(1, *place))
    with pytest.raises(ValueError, match="its index alone takes 68"):
        decode_block(array, data[-67:])
    with pytest.raises(ValueError, match="checksum of the index"):
        decode_block(array, data[:-4] + b"\0\0\0\0")
    # One that is not asked for is not decoded.
    part = (slice(0, 2), slice(0, 5), slice(0, 3))
    whole = rewritten(3, len(data) - 68, len(bomb))
    np.testing.assert_array_equal(decode_block(array, whole, part), array[part])


def test_chunks_that_no_memory_holds():
    array, data = stored("<u4", compressors=[ZstdCodec()])
    with set_limits(chunk_bytes=480):
        decode_block(array, data)
    with (
        set_limits(chunk_bytes=479),
        pytest.raises(FormatError, match=r"decodes to 480 bytes, of at most 479; .*chunk_bytes"),
    ):
        decode_block(array, data)
    huge = array_decoder(zarray((2**20, 2**20), compressor={"id": "zstd"}))
    with little_memory(), pytest.raises(FormatError, match="decodes to 4398046511104 bytes"):
        huge.decode(numcodecs.zstd.compress(bytes(4)))


def test_objects_are_no_larger_than_what_they_encode():
    values = np.random.default_rng(0).bytes(480)
    for configuration, encode in ENCODERS.values():
        if encode is not ENCODERS["zstd without a size"][1]:
            decoder = array_decoder(zarray(SHAPE, compressor=configuration))
            assert len(encode(values)) <= decoder.most_bytes < 10**5
    assert array_decoder(zarray(SHAPE)).most_bytes == 480


# ----- texts


def test_texts():
    strings = array_decoder(zarr_json([2], "string", ["vlen-utf8"]), texts=True)
    data = bytes(numcodecs.VLenUTF8().encode(np.array(["a", "ü"], object)))
    assert strings.decode(data).tolist() == ["a", "ü"]
    for hostile in ((2**31 - 1).to_bytes(4, "little") + data[4:], data[:10], b"", data[:-1]):
        with little_memory(), pytest.raises(ValueError, match=r"it says that it|corrupt|buffer"):
            strings.decode(hostile)
    document = {"name": "fixed_length_utf32", "configuration": {"length_bytes": 4}}
    fixed = array_decoder(zarr_json([2], document, ["bytes"]), texts=True)
    assert fixed.decode(np.array(["a", "ü"], "<U1").tobytes()).tolist() == ["a", "ü"]
    with pytest.raises(ValueError, match="what are no characters"):
        fixed.decode(b"\xff" * 8)
    old = zarray((2,), dtype="|O", filters=[{"id": "vlen-utf8"}])
    assert array_decoder(old, texts=True).decode(data).tolist() == ["a", "ü"]
    assert array_decoder(zarray((2,), dtype="<U1"), texts=True).dtype == "<U1"


@pytest.mark.parametrize(
    "document",
    [
        zarr_json([2], "string", ["vlen-utf8"]),
        zarr_json([2], {"name": "fixed_length_utf32"}, ["bytes"]),
        zarray((2,), dtype="|O", filters=[{"id": "vlen-utf8"}]),
        zarray((2,), dtype="<U4"),
    ],
)
def test_texts_where_numbers_should_be(document):
    with pytest.raises(FormatError, match="only integers, floats and booleans are read"):
        array_decoder(document)


@pytest.mark.parametrize("length", [0, 3, -4, 2**40, "4", None])
def test_texts_of_no_length(length):
    document = {"name": "fixed_length_utf32", "configuration": {"length_bytes": length}}
    with pytest.raises(FormatError, match="only integers, floats and booleans are read"):
        array_decoder(zarr_json([2], document, ["bytes"]), texts=True)


# ----- what is allowed

SHARDED = {"chunk_shape": [2], "codecs": ["bytes"], "index_codecs": ["bytes", "crc32c"]}


def sharded(**fields):
    return zarr_json(
        [4], "uint8", [{"name": "sharding_indexed", "configuration": {**SHARDED, **fields}}]
    )


def nested(depth):
    inner = SHARDED
    for _ in range(depth):
        inner = {**SHARDED, "codecs": [{"name": "sharding_indexed", "configuration": inner}]}
    return sharded(**inner)


REFUSED = {
    "pickle": (zarray((2,), filters=[{"id": "pickle"}]), "the codec 'pickle', which is not among"),
    "compressor": (zarray((2,), compressor={"id": "msgpack2"}), "the codec 'msgpack2', which is"),
    "object": (zarray((2,), dtype="|O"), "of the type |O; only integers"),
    "pickled": (zarray((2,), dtype="|O", filters=[{"id": "pickle"}]), "of the type |O"),
    "structured": (zarray((2,), dtype=[["a", "<u4"]]), "only integers, floats and booleans"),
    "complex": (zarray((2,), dtype="<c8"), "of the type <c8; only integers"),
    "time": (zarray((2,), dtype="<M8[s]"), "only integers, floats and booleans are read"),
    "void": (zarray((2,), dtype="|V4"), "only integers, floats and booleans are read"),
    "bytes": (zarray((2,), dtype="|S4"), "only integers, floats and booleans are read"),
    "quad": (zarray((2,), dtype="<b4"), "its metadata are damaged"),
    "order": (zarray((2,), order="K"), "its order is 'K'; there are C and F"),
    "no codec": (zarray((2,), compressor=5), "5 is no codec"),
    "no name": (zarray((2,), compressor={"id": 5}), "is no codec"),
    "too many": (zarray((2,), filters=[{"id": "crc32"}] * 17), "it has 17 filters"),
    "options": (zarray((2,), filters=[{"id": "delta", "x": 1}]), "delta has options that are none"),
    "delta": (zarray((2,), filters=[{"id": "delta", "dtype": "O"}]), "which is no type of numbers"),
    "lzma": (zarray((2,), compressor={"id": "lzma", "format": 3}), "lzma of the format RAW"),
    "length": (zarray((2,), chunks=[0]), "its chunks is [0]; it must be at most 32 whole"),
    "no list": (zarray((2,), shape="9"), "its shape is 9; it must be at most 32"),
    "a million axes": (zarray((2,), shape=[1] * 10**6), "it must be at most 32 whole numbers"),
    "axes": (zarray((2,), chunks=[1, 1]), "differ in their number of axes"),
    "nothing": ({}, "its metadata are damaged: KeyError"),
    "v3 pickle": (zarr_json([2], "uint8", ["bytes", "numcodecs.pickle"]), "codec 'pickle', which"),
    "v3 zfpy": (zarr_json([2], "float32", ["numcodecs.zfpy"]), "the codec 'numcodecs.zfpy', whi"),
    "v3 vlen": (zarr_json([2], "uint8", ["vlen-utf8"]), "the codec 'vlen-utf8', which is not"),
    "v3 lz4": (zarr_json([2], "uint8", ["bytes", "lz4"]), "the codec 'lz4', which is not among"),
    "v3 other": (zarr_json([2], "r16", ["bytes"]), "of the type r16; only integers"),
    "v3 type": (zarr_json([2], ["uint8"], ["bytes"]), "only integers, floats and booleans"),
    "v3 none": (zarr_json([2], "uint8", []), "none of its codecs makes bytes of an array"),
    "v3 text": (zarr_json([2], "uint8", "bytes"), "its codecs are bytes"),
    "v3 configuration": (
        zarr_json([2], "uint8", [{"name": "bytes", "configuration": 5}]),
        "is no codec",
    ),
    "v3 delta": (
        zarr_json([2], "uint8", ["bytes", "numcodecs.delta"]),
        "takes an array, and stands behind",
    ),
    "v3 transpose": (
        zarr_json([2], "uint8", [{"name": "transpose", "configuration": {"order": [1]}}, "bytes"]),
        "it is transposed in the order",
    ),
    "grid": (
        zarr_json([2], "uint8", ["bytes"], chunk_grid={"name": "rectilinear"}),
        "its chunk grid is 'rectilinear'; regular ones are read",
    ),
    "transformers": (
        zarr_json([2], "uint8", ["bytes"], storage_transformers=[{"name": "x"}]),
        "it has storage transformers",
    ),
    "shard": (sharded(chunk_shape=[3]), "are no multiples of its chunks"),
    "shard axes": (sharded(chunk_shape=[2, 2]), "are no multiples of its chunks"),
    "shard index": (sharded(index_codecs=["bytes", "zstd"]), "the index of its shards is encoded"),
    "shard place": (sharded(index_location="middle"), "is at 'middle'; it is at start or end"),
    "shards within": (nested(4), "the codec 'sharding_indexed', which is not among"),
}


@pytest.mark.parametrize(("document", "text"), REFUSED.values(), ids=REFUSED)
def test_metadata_that_are_refused(document, text):
    document = json.loads(json.dumps(document))
    with little_memory(), pytest.raises(FormatError, match=re.escape(text)):
        array_decoder(document)


@pytest.mark.parametrize("name", ["crc32", "adler32", "crc32c", "fletcher32", "packbits"])
def test_filters_of_less_than_they_add(name):
    decoder = array_decoder(zarray((0,), chunks=[1], dtype="|u1", filters=[{"id": name}]))
    for data in (b"", b"\0", b"\0\0\0", b"\1\2\3\4\5"):
        with pytest.raises((ValueError, RuntimeError)):
            decoder.decode(data)


def test_sizes_of_frames_of_zstd():
    assert zstd_content_size(numcodecs.zstd.compress(b"")) == 0
    with pytest.raises(ValueError, match="it is no zstd frame"):
        zstd_content_size(b"\x50\x2a\x4d\x18\0\0\0\0")
