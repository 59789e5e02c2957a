//! The decoders of this crate as fuzz targets: bytes in, a panic when a property does not hold.
//!
//! Properties: nothing panics; what a decoder accepts is encoded again to bytes that it reads as the same
//! thing; limits that readers rely on hold. A hash keeps a fuzzer out of everything behind it, so each
//! target also tries its input with the hash put right.
//! Not here: the fuzzer, how much memory a decoder may take (both in `fuzz/`). Seeds are the pinned bytes of
//! `tests/golden`.

use crate::capture::{
    CaptureSpec, chunks_of_rows, decode_registered, decode_spec, encode_registered, encode_spec, leaves_of,
};
use crate::codec::{self, Codec};
use crate::crypt::{BoxKind, Crypt, KeySet, Keyring, Naming, Secret};
use crate::format::Format;
use crate::gc::forward::{Forward, Moved};
use crate::head::{self, HeadEntry};
use crate::id::{CaptureId, Nonce, PackId, VaultId};
use crate::pack::{ENTRIES_MAX, Footer, Location, PackKind};
use crate::record::SnapshotRecord;
use crate::trace::BootTrace;
use crate::tree::{NODE_BYTES_MAX, Root, decode_node, encode_node, parse_node};
use crate::{key, text};
use bytes::Bytes;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};

/// What the objects in `tests/golden` belong to.
const VAULT: VaultId = VaultId(*b"the golden vault");
/// The capture that [`capture_file`] is of.
const CAPTURE: CaptureId = CaptureId(*b"acapture");
/// The key file of the key set there.
const GOLDEN_FILE: [u8; 32] = [0x6b; 32];

fn disk() -> DiskId {
    DiskId::new("d-golden").expect("a plain id")
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("s-golden").expect("a plain id")
}

/// A pack's footer.
pub fn footer(bytes: &[u8]) {
    check_footer(bytes);
    check_footer(&Footer::seal(bytes));
    // A whole footer, mutated: what stands before its hash.
    if let Some(content) = bytes.len().checked_sub(44) {
        check_footer(&Footer::seal(&bytes[..content]));
    }
    let _ = Footer::len_from_tail(&"fuzz", bytes, bytes.len() as u64);
}

fn check_footer(bytes: &[u8]) {
    let Ok(footer) = Footer::decode(&"fuzz", bytes) else {
        return;
    };
    assert!(footer.entries.len() <= ENTRIES_MAX);
    let again = footer.encode();
    assert!(again.len() <= bytes.len());
    assert_eq!(Footer::decode(&"fuzz", &again).expect("our own encoding"), footer);
    footer.stored_bytes();
    footer.has_body();
    if footer.kind == PackKind::Data {
        let pending = (0..1 << 16).collect();
        if let Some(chunks) = chunks_of_rows(&footer, &pending) {
            leaves_of(&chunks);
        }
    }
}

/// A tree node's plain bytes.
pub fn node(bytes: &[u8]) {
    check_node(bytes);
    let content = bytes.len().saturating_sub(4);
    let sealed = [
        &bytes[..content],
        &crc32c::crc32c(&bytes[..content]).to_le_bytes(),
    ]
    .concat();
    check_node(&sealed);
}

fn check_node(bytes: &[u8]) {
    let Ok((name, node)) = parse_node(&Naming::default(), bytes) else {
        return;
    };
    let (again_name, again) = encode_node(&Naming::default(), &node);
    assert_eq!((again_name, node.id(&Naming::default())), (name, name));
    assert!(again.len() <= bytes.len() && again.len() <= NODE_BYTES_MAX);
    assert_eq!(
        decode_node(&Naming::default(), name, &again).expect("our own encoding"),
        node
    );
    assert!(node.chunks() >= 1);
}

/// A root.
pub fn root(bytes: &[u8]) {
    check_root(bytes);
    let mut sealed = bytes.to_vec();
    sealed.resize(Root::BYTES, 0);
    let crc = crc32c::crc32c(&sealed[..Root::BYTES - 4]);
    sealed[Root::BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    check_root(&sealed);
}

fn check_root(bytes: &[u8]) {
    let Ok(root) = Root::from_bytes(bytes) else {
        return;
    };
    assert_eq!(
        Root::from_bytes(&root.to_bytes()).expect("our own encoding"),
        root
    );
    assert!(root.data_chunks() <= root.chunk_count());
    assert!(root.depth() >= 1);
}

/// The JSON of a text object, tried as every kind there is.
pub fn text_object(bytes: &[u8]) {
    check_text_object(bytes);
    check_text_object(&text::seal(bytes));
}

fn check_text_object(object: &[u8]) {
    if let Ok(format) = Format::decode(object) {
        let again = format.encode().expect("encodes");
        assert_eq!(Format::decode(&again).expect("our own encoding"), format);
    }
    if let Ok(set) = KeySet::decode(VAULT, None, object) {
        let again = set.encode().expect("encodes");
        assert_eq!(
            KeySet::decode(VAULT, None, &again).expect("our own encoding"),
            set
        );
        // A key file's slots only: a passphrase's would take their time.
        let secret = Secret::key_file(&GOLDEN_FILE).expect("32 bytes");
        let _ = set.open(&secret);
    }
    if let Ok((format, _)) = Format::decode_known(object) {
        assert!(
            !format.is_encrypted(),
            "an encrypted vault is known with its keys"
        );
    }
    if let Ok(record) = SnapshotRecord::decode(&snapshot(), object) {
        let again = record.encode().expect("encodes");
        assert_eq!(
            SnapshotRecord::decode(&snapshot(), &again).expect("our own encoding"),
            record
        );
    }
    if let Ok(trace) = BootTrace::decode(&snapshot(), object) {
        assert!(trace.chunks().len() <= BootTrace::CHUNKS_MAX);
        let again = trace.encode(&snapshot()).expect("encodes");
        assert_eq!(
            BootTrace::decode(&snapshot(), &again).expect("our own encoding"),
            trace
        );
        trace.is_scan();
    }
    for seq in 0..4 {
        if let Ok(entry) = head::decode(&disk(), seq, object) {
            check_head_entry(seq, &entry);
        }
    }
    if let Ok((capture, spec)) = decode_spec(VAULT, "fuzz", object) {
        let again = encode_spec(VAULT, capture, &spec).expect("encodes");
        assert_eq!(
            decode_spec(VAULT, "fuzz", &again).expect("our own encoding"),
            (capture, spec.clone())
        );
        leaves_of(&spec.pending);
    }
    if let Ok(registered) = decode_registered(CAPTURE, object) {
        let again = encode_registered(&registered).expect("encodes");
        assert_eq!(
            decode_registered(CAPTURE, &again).expect("our own encoding"),
            registered
        );
    }
}

fn check_head_entry(seq: u64, entry: &HeadEntry) {
    let again = head::encode(&disk(), seq, Nonce([7; 16]), entry).expect("encodes");
    assert_eq!(
        &head::decode(&disk(), seq, &again).expect("our own encoding"),
        entry
    );
    head::live_snapshots(std::slice::from_ref(entry));
}

// A forward, at its own place.
fn forward(bytes: &[u8]) {
    let from = PackId([7; 16]);
    if let Ok(forward) = Forward::decode(from, bytes) {
        assert_eq!(
            Forward::decode(from, &forward.encode()).expect("our own encoding"),
            forward
        );
    }
}

/// What [`forward`] reads, with its hash made right: as somebody who can write to the bucket would.
pub fn hashed_forward(bytes: &[u8]) {
    let object = [bytes, blake3::hash(bytes).as_bytes()].concat();
    forward(&object);
}

/// A forward of two rows without its hash, as a seed for [`hashed_forward`].
pub fn forward_content() -> Vec<u8> {
    let to = PackId([8; 16]);
    let row = |n: u8| Moved {
        id: [n; 32],
        old_ordinal: n.into(),
        at: Location {
            pack: to,
            offset: 32 + u32::from(n) * 100,
            stored_len: 100,
            ordinal: n.into(),
            codec: Codec::Zstd,
        },
    };
    let object = Forward::new(PackKind::Data, PackId([7; 16]), to, vec![row(0), row(1)]).encode();
    object[..object.len() - 32].to_vec()
}

/// A capture file, as a seed for [`text_object`].
pub fn capture_file() -> Vec<u8> {
    let spec = CaptureSpec {
        snapshot: snapshot(),
        disk: disk(),
        parent: Some(Root::zeros(8 * CHUNK_BYTES)),
        size_bytes: 16 * CHUNK_BYTES,
        pending: [1, 2, 9].into_iter().collect(),
        own_key: false,
    };
    encode_spec(VAULT, CAPTURE, &spec).expect("encodes").to_vec()
}

/// The stored bytes of a chunk; the first byte picks the codec.
pub fn stored_chunk(bytes: &[u8]) {
    let Some((codec, stored)) = bytes.split_first() else {
        return;
    };
    let Ok(codec) = Codec::from_byte(codec % 3) else {
        return;
    };
    let limit = CHUNK_BYTES as usize;
    if let Ok(plain) = codec::decode(codec, &Bytes::copy_from_slice(stored), limit) {
        assert!(plain.len() <= limit);
        let (codec, stored) = codec::encode(&plain);
        assert_eq!(codec::decode(codec, &stored, limit), Ok(plain));
    }
}

/// Something encrypted, and the same bytes as what somebody with the keys has encrypted.
pub fn encrypted(bytes: &[u8]) {
    let ring = Keyring::golden(VAULT);
    let newest = ring.newest();
    let crypt = Crypt::new(ring);
    let (pack, id) = (PackId(*b"the golden pack!"), [7; 32]);
    let object = Bytes::copy_from_slice(bytes);
    for kind in [PackKind::Data, PackKind::Tree] {
        let _ = crypt.read_footer(&"fuzz", kind, pack, bytes);
        let _ = crypt.decrypt_stored(kind, &id, object.clone());
        let name = key::pack(kind, pack);
        let boxed = newest.encrypt(BoxKind::Footer, name.as_bytes(), [1; 12], bytes);
        let plain = crypt
            .read_footer(&"fuzz", kind, pack, &Footer::around(&boxed))
            .ok();
        assert_eq!(plain, Footer::decode(&"fuzz", bytes).ok());
    }
    crypt.wanted(bytes);
    let name = key::snapshot(&snapshot());
    let _ = crypt.decrypt_object(BoxKind::Record, &name, &object);
    let boxed = crypt.encrypt_object(BoxKind::Record, &name, || [2; 12], object.clone());
    let again = crypt.decrypt_object(BoxKind::Record, &name, &boxed);
    assert_eq!(again.expect("our own encryption"), object);
    let _ = Format::decode_known(bytes);
    let _ = Secret::key_file(bytes);
}

/// A key in the bucket.
pub fn bucket_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for kind in [PackKind::Data, PackKind::Tree] {
        if let Some(id) = key::parse_pack(kind, text) {
            assert_eq!(key::pack(kind, id), text);
        }
    }
    if let Some((disk, seq)) = key::parse_head(text) {
        assert_eq!(key::head(&disk, seq), text);
    }
    if let Some(id) = key::parse_snapshot(text) {
        assert_eq!(key::snapshot(&id), text);
    }
    if let Some(id) = key::parse_trace(text) {
        assert_eq!(key::trace(&id), text);
    }
    if let Ok(id) = text.parse::<PackId>() {
        assert_eq!(id.to_string(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_capture_file_is_read() {
        let object = capture_file();
        decode_spec(VAULT, "test", &object).unwrap();
        text_object(&object);
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            footer(&bytes);
            node(&bytes);
            root(&bytes);
            text_object(&bytes);
            stored_chunk(&bytes);
            bucket_key(&bytes);
            encrypted(&bytes);
        }
    }
}
