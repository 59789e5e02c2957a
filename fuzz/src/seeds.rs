//! Seeds: valid inputs for every target, made by the real encoders.
//!
//! Volumes are made in the simulated world and their files cut up; the vault's objects are the pinned ones of its
//! golden tests. The result is committed (`fuzz/corpus`), so that what an older release wrote stays among the seeds
//! when an encoder changes.

use bytes::{BufMut, BytesMut};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use tidemark_ecs::page::Cursor;
use tidemark_ecs::sign::{Credentials, encode_form, v1, v3};
use tidemark_env::sim::Sim;
use tidemark_env::{Env, OpenMode};
use tidemark_nbd::proto::wire::{self, option};
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_volume::{CreateOptions, Volume, VolumeConfig};

/// Target and input.
type Seed = (&'static str, Vec<u8>);

/// Writes `dir/<target>/seed-<n>` for every seed.
pub fn write(dir: &Path) -> io::Result<()> {
    let mut seeds = vault();
    seeds.extend(nbd());
    seeds.push(("vhost_requests", guest_memory()));
    seeds.extend(ecs());
    seeds.push(("image_qcow2", qcow2(3)));
    seeds.push(("image_qcow2", qcow2(2)));
    seeds.extend(volume());
    let mut seen = HashSet::new();
    seeds.retain(|seed| seen.insert(seed.clone()));
    let mut count = HashMap::new();
    for (target, bytes) in seeds {
        let number = count.entry(target).and_modify(|n| *n += 1).or_insert(1);
        std::fs::create_dir_all(dir.join(target))?;
        std::fs::write(dir.join(target).join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("hex")
}

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../crates/vault/tests/golden/", $name))
    };
}

fn vault() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for pack in [golden!("data-pack.hex"), golden!("tree-pack.hex")] {
        let pack = hex(pack);
        let (_, len) = pack.split_last_chunk::<4>().expect("a footer length");
        seeds.push((
            "vault_footer",
            pack[pack.len() - u32::from_le_bytes(*len) as usize..].to_vec(),
        ));
    }
    seeds.push(("vault_forward", tidemark_vault::fuzzing::forward_content()));
    seeds.push(("vault_node", hex(golden!("leaf.hex"))));
    seeds.push(("vault_node", hex(golden!("inner.hex"))));
    seeds.push(("vault_root", hex(golden!("root.hex"))));
    let lines: Vec<&str> = golden!("text-objects.txt").lines().collect();
    for object in lines.chunks(2) {
        seeds.push((
            "vault_text_object",
            format!("{}\n", object.join("\n")).into_bytes(),
        ));
    }
    seeds.push(("vault_text_object", golden!("key-set.txt").into()));
    for line in golden!("encrypted.txt").lines() {
        let (name, bytes) = line.split_once(' ').expect("a name and its bytes");
        let bytes = hex(bytes);
        match name {
            // Its footer, as the footers of plain packs.
            "pack" => {
                let (_, len) = bytes.split_last_chunk::<4>().expect("a footer length");
                let at = bytes.len() - u32::from_le_bytes(*len) as usize;
                seeds.push(("vault_encrypted", bytes[at..].to_vec()));
            }
            _ => seeds.push(("vault_encrypted", bytes)),
        }
    }
    seeds.push(("vault_text_object", tidemark_vault::fuzzing::capture_file()));
    seeds.push((
        "vault_stored_chunk",
        [vec![1], hex(golden!("zstd-chunk.hex"))].concat(),
    ));
    seeds.push(("vault_stored_chunk", b"\0raw".to_vec()));
    for key in [
        "packs/ab/abababababababababababababababab",
        "nodes/00/00000000000000000000000000000000",
        "d/d-1/h/00000000000000000007",
        "snapshots/s-1",
    ] {
        seeds.push(("vault_bucket_key", key.into()));
    }
    seeds
}

/// One option of a handshake.
fn put_option(out: &mut BytesMut, code: u32, data: &[u8]) {
    out.put_u64(wire::MAGIC_OPTION);
    out.put_u32(code);
    out.put_u32(data.len() as u32);
    out.put_slice(data);
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn put_request(out: &mut BytesMut, extended: bool, command: u16, flags: u16, offset: u64, length: u32) {
    out.put_u32(if extended {
        wire::MAGIC_REQUEST_EXTENDED
    } else {
        wire::MAGIC_REQUEST
    });
    out.put_u16(flags);
    out.put_u16(command);
    out.put_u64(7);
    out.put_u64(offset);
    if extended {
        out.put_u64(length.into());
    } else {
        out.put_u32(length);
    }
    if command == wire::command::WRITE {
        out.put_bytes(b'w', length as usize);
    }
}

fn session(extended: bool) -> BytesMut {
    use wire::{command, command_flag as flag};
    let mut out = BytesMut::new();
    put_request(
        &mut out,
        extended,
        command::READ,
        flag::DF * u16::from(extended),
        0,
        512,
    );
    put_request(&mut out, extended, command::WRITE, flag::FUA, 4096, 24);
    put_request(&mut out, extended, command::BLOCK_STATUS, flag::REQ_ONE, 0, 8192);
    put_request(&mut out, extended, command::WRITE_ZEROES, flag::NO_HOLE, 0, 4096);
    put_request(&mut out, extended, command::TRIM, 0, 0, 4096);
    put_request(&mut out, extended, command::CACHE, 0, 0, 4096);
    put_request(&mut out, extended, command::FLUSH, 0, 0, 0);
    put_request(&mut out, extended, command::DISC, 0, 0, 0);
    out
}

fn nbd() -> Vec<Seed> {
    let requests = |how: u8| [&[how], &session(how % 3 == 2)[..]].concat();
    let go = [string("d-1"), vec![0, 2, 0, 1, 0, 3]].concat();
    let context = [string("d-1"), vec![0, 0, 0, 1], string(wire::BASE_ALLOCATION)].concat();

    let mut modern = BytesMut::from(&[5, 0, 0, 0, 3][..]);
    put_option(&mut modern, option::STARTTLS, &[]);
    put_option(&mut modern, option::STRUCTURED_REPLY, &[]);
    put_option(&mut modern, option::EXTENDED_HEADERS, &[]);
    put_option(&mut modern, option::LIST, &[]);
    put_option(&mut modern, option::LIST_META_CONTEXT, &context);
    put_option(&mut modern, option::SET_META_CONTEXT, &context);
    put_option(&mut modern, option::INFO, &go);
    put_option(&mut modern, option::GO, &go);
    modern.extend_from_slice(&session(true));

    let mut old = BytesMut::from(&[0, 0, 0, 0, 1][..]);
    put_option(&mut old, option::EXPORT_NAME, b"d-1");
    old.extend_from_slice(&session(false));

    let mut leaving = BytesMut::from(&[1, 0, 0, 0, 3][..]);
    put_option(
        &mut leaving,
        option::GO,
        &[string("unknown"), vec![0, 0]].concat(),
    );
    put_option(&mut leaving, option::ABORT, &[]);

    vec![
        ("nbd_requests", requests(0)),
        ("nbd_requests", requests(1 | 0x40)),
        ("nbd_requests", requests(2 | 0x40)),
        ("nbd_handshake", modern.to_vec()),
        ("nbd_handshake", old.to_vec()),
        ("nbd_handshake", leaving.to_vec()),
    ]
}

/// A guest's memory with a read, a write, a discard, and (in an indirect table) a question for the disk's name, at the heads that
/// the target takes. Offsets are in the memory, which starts at the guest's address 0x1000.
fn guest_memory() -> Vec<u8> {
    const START: u64 = 0x1000;
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;
    let mut memory = vec![0; 0x2000];
    let mut descriptor = |at: usize, place: u64, len: u32, flags: u16, next: u16| {
        let mut bytes = Vec::new();
        bytes.put_u64_le(START + place);
        bytes.put_u32_le(len);
        bytes.put_u16_le(flags);
        bytes.put_u16_le(next);
        memory[at..at + 16].copy_from_slice(&bytes);
    };
    let (data, status) = (0x800, 0x700);
    let header = |head: u64| 0x400 + head * 16;
    for (head, flags) in [(0, NEXT | WRITE), (1, NEXT), (2, NEXT)] {
        let (second, third) = (4 + 2 * head as u16, 5 + 2 * head as u16);
        let len = if head == 2 { 16 } else { 512 };
        descriptor(head as usize * 16, header(head), 16, NEXT, second);
        descriptor(usize::from(second) * 16, data, len, flags, third);
        descriptor(usize::from(third) * 16, status, 1, WRITE, 0);
    }
    let table = 0x600;
    descriptor(3 * 16, table, 48, INDIRECT, 0);
    for (at, place, len, flags) in [
        (0, header(3), 16, NEXT),
        (1, data, 20, NEXT | WRITE),
        (2, status, 1, WRITE),
    ] {
        descriptor(table as usize + at * 16, place, len, flags, at as u16 + 1);
    }
    // Types: read, write, discard, get id.
    for (head, kind) in [(0, 0u32), (1, 1), (2, 11), (3, 8)] {
        let at = header(head) as usize;
        memory[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        memory[at + 8] = 3;
    }
    // The discard's range: 8 sectors from sector 3.
    memory[data as usize] = 3;
    memory[data as usize + 8] = 8;
    memory
}

/// A disk of 64 KiB in clusters of 512 bytes: header, reference counts, both tables, one cluster of data.
fn qcow2(version: u32) -> Vec<u8> {
    let mut file = vec![0; 6 * 512];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &version.to_be_bytes());
    put(20, &9u32.to_be_bytes());
    put(24, &(64u64 << 10).to_be_bytes());
    put(36, &2u32.to_be_bytes());
    put(40, &(3u64 * 512).to_be_bytes());
    put(48, &512u64.to_be_bytes());
    put(56, &1u32.to_be_bytes());
    if version == 3 {
        put(96, &4u32.to_be_bytes());
        put(100, &112u32.to_be_bytes());
        put(112, &0x6803_f857u32.to_be_bytes());
        put(116, &48u32.to_be_bytes());
    }
    put(512, &(2u64 * 512).to_be_bytes());
    put(3 * 512, &((1u64 << 63) | (4 * 512)).to_be_bytes());
    put(4 * 512, &((1u64 << 63) | (5 * 512)).to_be_bytes());
    put(4 * 512 + 8, &((1u64 << 62) | (5 * 512 + 7)).to_be_bytes());
    file
}

fn ecs() -> Vec<Seed> {
    let credentials = Credentials {
        access_key_id: "testid".into(),
        access_key_secret: "testsecret".into(),
        security_token: None,
    };
    let (now, nonce) = ("2026-01-02T03:04:05Z", "nonce");
    let queries: &[&[(&str, &str)]] = &[
        &[
            ("RegionId", "cn-hangzhou"),
            ("ZoneId", "cn-hangzhou-a"),
            ("Size", "20"),
            ("DiskCategory", "cloud_essd"),
            ("PerformanceLevel", "PL1"),
            ("DiskName", "a disk"),
            ("Tag.1.Key", "k"),
            ("Tag.1.Value", "v"),
            ("ClientToken", "t"),
        ],
        &[
            ("DiskId", "d-bp1s5fnvk4gn2tws0aaa"),
            ("SnapshotName", "one"),
            ("Description", "a*b 中文"),
            ("RetentionDays", "7"),
        ],
        &[
            ("RegionId", "cn-hangzhou"),
            ("DiskIds", "[\"d-1\",\"d-2\"]"),
            ("SnapshotIds", "[\"s-1\"]"),
            ("Filter.1.Key", "CreationStartTime"),
            ("Filter.1.Value", "2026-01-02T03:04Z"),
            ("PageNumber", "1"),
            ("PageSize", "50"),
            ("MaxResults", "10"),
            ("NextToken", ""),
            ("DryRun", "true"),
        ],
        &[
            ("RegionId", "cn-hangzhou"),
            ("ImageId", "i"),
            ("InstanceType", "tidemark.external"),
            ("Amount", "2"),
            ("SystemDisk.Size", "40"),
            ("SystemDisk.Category", "cloud_essd"),
            ("DataDisk.1.Size", "40"),
            ("DataDisk.1.SnapshotId", "s-1"),
            ("InstanceName", "name[1,4]x"),
            ("HostName", "h"),
            ("Password", "Secret123!"),
            ("UserData", "aGk="),
        ],
        &[
            ("RegionId", "cn-hangzhou"),
            ("ResourceType", "disk"),
            ("ResourceId.1", "d-1"),
            ("TagKey.1", "k"),
            ("All", "false"),
            ("InstanceId", "i-1"),
            ("Force", "true"),
        ],
    ];
    let mut seeds = Vec::new();
    for query in queries {
        let pairs: Vec<_> = query
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        let signed = v1::sign_request(&credentials, "GET", "CreateDisk", "JSON", &pairs, now, nonce);
        let wire = encode_form(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        seeds.push(("ecs_query", wire.into_bytes()));
    }
    let call = v3::Call {
        method: "GET",
        host: "127.0.0.1:7480",
        action: "DescribeRegions",
        version: tidemark_ecs::API_VERSION,
        query: &[],
        timestamp: now,
        nonce,
    };
    for (name, value) in v3::sign_request(&credentials, &call) {
        if name == "authorization" {
            seeds.push(("ecs_authorization", value.into_bytes()));
        }
    }
    let cursor = Cursor {
        created: 1_700_000_000_123,
        id: "s-1".into(),
    };
    seeds.push(("ecs_text", cursor.encode().into_bytes()));
    for text in [now, "2026-01-02T03:04Z", "d-bp1s5fnvk4gn2tws0aaa"] {
        seeds.push(("ecs_text", text.into()));
    }
    seeds.push(("ecs_render", "<a href=\"x\">&amp; ]]> 中文\t\r\n\u{1}".into()));
    seeds
}

const SEGMENT: u64 = 256 << 10;
const BLOCK: usize = 4096;

/// The files of a volume that has seen every kind of record, before and after a checkpoint.
fn volume() -> Vec<Seed> {
    Sim::new(1).run(|env| async move {
        let dir = Path::new("v");
        let config = VolumeConfig {
            segment_bytes: SEGMENT,
            segments_max: Some(6),
            ..VolumeConfig::default()
        };
        let options = CreateOptions {
            name: "d-seed".into(),
            size_bytes: 64 * CHUNK_BYTES,
            source: Some((vec![7; 84], 32 * CHUNK_BYTES)),
        };
        Volume::create(&env, dir, &options, &config)
            .await
            .expect("a new volume");
        let volume = Volume::open(&env, dir, None, &config).await.expect("it opens");
        let mut seeds = Vec::new();
        for round in 0..2u8 {
            let chunk = u64::from(round) * CHUNK_BYTES;
            // Zeros: a payload that takes no room in the corpus.
            volume
                .write(chunk, vec![0; BLOCK].into(), true)
                .await
                .expect("a write");
            volume
                .zero(chunk + CHUNK_BYTES, CHUNK_BYTES, round == 0, true)
                .await
                .expect("zeros");
            volume.trim(0, 8 * CHUNK_BYTES, true).await.expect("a trim");
            let id = SnapshotId::new(format!("s-seed{round}")).expect("a plain id");
            volume.mark(&id).await.expect("a mark");
            seeds.extend(log_seeds(&env, dir).await);
            for pending in volume.pending_marks() {
                volume.taken(&pending.mark.snapshot, &pending.chunks);
            }
            volume.checkpoint().await.expect("a checkpoint");
            // An odd generation: two at the making, this one, and one when the mark is given up.
            seeds.push(("volume_superblock", file(&env, &dir.join("super.1")).await));
            volume.fail(&id).await.expect("the mark is given up");
        }
        seeds
    })
}

async fn log_seeds(env: &Env, dir: &Path) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for segment in env.fs.list(&dir.join("log")).await.expect("the log's directory") {
        segment_seeds(&file(env, &dir.join("log").join(segment.name)).await, &mut seeds);
    }
    seeds
}

fn segment_seeds(segment: &[u8], seeds: &mut Vec<Seed>) {
    let mut blocks: Vec<&[u8]> = segment.chunks(BLOCK).collect();
    while blocks.last().is_some_and(|block| block.iter().all(|b| *b == 0)) {
        blocks.pop();
    }
    seeds.push(("volume_segment_header", blocks[0][..80].to_vec()));
    let starts: Vec<usize> = (1..blocks.len())
        .filter(|at| blocks[*at].starts_with(b"TMBATCH"))
        .collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(blocks.len());
        seeds.push(("volume_log_batch", without_zeros(&blocks[*start..end].concat())));
        if blocks[end - 1][12..].starts_with(b"s-seed") {
            seeds.push(("volume_mark_note", without_zeros(blocks[end - 1])));
        }
    }
}

/// Without the zeros at the end, which the targets add again.
fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    bytes[..len].to_vec()
}

async fn file(env: &Env, path: &Path) -> Vec<u8> {
    let file = env
        .fs
        .open(path, OpenMode::Read)
        .await
        .expect("the volume's file");
    let size = file.size().await.expect("its size");
    file.read_at(0, size as usize)
        .await
        .expect("its content")
        .to_vec()
}
