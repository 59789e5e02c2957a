//! Headers that are right but for one thing each.

use super::*;

const CLUSTER: usize = 1 << 16;

/// Where a cluster is.
fn cluster(number: u64) -> u64 {
    number * CLUSTER as u64
}

/// A file of a 1 GiB disk: header, refcount table, a refcount block, the L1 table, one L2 table, one cluster of data.
fn good() -> Vec<u8> {
    let mut file = vec![0; 6 * CLUSTER];
    put(&mut file, 0, &MAGIC);
    put(&mut file, 4, &3u32.to_be_bytes());
    put(&mut file, 20, &16u32.to_be_bytes());
    put(&mut file, 24, &(1u64 << 30).to_be_bytes());
    put(&mut file, 36, &2u32.to_be_bytes());
    put(&mut file, 40, &(cluster(3)).to_be_bytes());
    put(&mut file, 48, &cluster(1).to_be_bytes());
    put(&mut file, 56, &1u32.to_be_bytes());
    put(&mut file, 96, &4u32.to_be_bytes());
    put(&mut file, 100, &112u32.to_be_bytes());
    let copied = 1 << 63;
    put(&mut file, 3 * CLUSTER, &(copied | cluster(4)).to_be_bytes());
    put(&mut file, 4 * CLUSTER + 8, &(copied | cluster(5)).to_be_bytes());
    file
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn check(file: &[u8]) -> Result<u64, String> {
    let front = &file[..file.len().min(HEADER_BYTES_MAX as usize)];
    let image = Qcow2::parse(front, file.len() as u64).map_err(|error| error.to_string())?;
    let read = |at: u64, buffer: &mut [u8]| {
        let from = at as usize;
        match file.get(from..from + buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    };
    image.check_tables(read).map_err(|error| error.to_string())?;
    Ok(image.disk_bytes())
}

/// The good file with some bytes changed is refused, and the reason begins with the field.
fn is_refused(changes: &[(usize, &[u8])], field: &str) {
    let mut file = good();
    changes.iter().for_each(|(at, bytes)| put(&mut file, *at, bytes));
    let error = check(&file).expect_err(field);
    assert!(error.contains(field), "{field}: {error}");
}

#[test]
fn a_good_file_passes() {
    assert_eq!(check(&good()), Ok(1 << 30));
    let mut version_2 = good();
    put(&mut version_2, 4, &2u32.to_be_bytes());
    put(&mut version_2, 72, &[0; 40]);
    assert_eq!(check(&version_2), Ok(1 << 30));
    // Lazy reference counts that were not written back, zstd, a table of feature names.
    let mut other = good();
    put(&mut other, 72, &(DIRTY | COMPRESSION_TYPE).to_be_bytes());
    put(&mut other, 104, &[1]);
    put(&mut other, 112, &0x6803_f857u32.to_be_bytes());
    put(&mut other, 116, &9u32.to_be_bytes());
    assert_eq!(check(&other), Ok(1 << 30));
    // Data that was never written to its end.
    let cut = &good()[..5 * CLUSTER + 512];
    assert_eq!(check(cut), Ok(1 << 30));
}

#[test]
fn what_leads_elsewhere_is_refused() {
    is_refused(&[(8, &120u64.to_be_bytes())], "backing_file_offset");
    is_refused(&[(16, &10u32.to_be_bytes())], "backing_file_offset");
    is_refused(&[(72, &EXTERNAL_DATA.to_be_bytes())], "external data file");
    is_refused(&[(112, &EXTENSION_DATA_FILE.to_be_bytes())], "external data file");
    is_refused(&[(32, &1u32.to_be_bytes())], "crypt_method");
    is_refused(&[(32, &2u32.to_be_bytes())], "crypt_method");
    is_refused(&[(112, &EXTENSION_ENCRYPTION.to_be_bytes())], "encrypted");
}

#[test]
fn what_is_not_known_is_refused() {
    is_refused(&[(0, b"QFI\0")], "magic");
    is_refused(&[(4, &4u32.to_be_bytes())], "version");
    is_refused(&[(72, &(1u64 << 5).to_be_bytes())], "incompatible_features");
    is_refused(&[(72, &(1u64 << 63).to_be_bytes())], "incompatible_features");
    is_refused(&[(72, &CORRUPT.to_be_bytes())], "corrupt");
    is_refused(
        &[(72, &COMPRESSION_TYPE.to_be_bytes()), (104, &[2])],
        "compression_type",
    );
    is_refused(&[(104, &[1])], "compression_type");
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for bits in [0u32, 8, 22, 63, u32::MAX] {
        is_refused(&[(20, &bits.to_be_bytes())], "cluster_bits");
    }
    for size in [0, DISK_BYTES_MAX + 1, u64::MAX] {
        is_refused(&[(24, &size.to_be_bytes())], "size");
    }
    for entries in [0u32, 1, u32::MAX] {
        is_refused(&[(36, &entries.to_be_bytes())], "l1_size");
    }
    for at in [0, cluster(3) + 8] {
        is_refused(&[(40, &at.to_be_bytes())], "l1_table_offset");
    }
    is_refused(
        &[(40, &(u64::MAX << 16).to_be_bytes())],
        "the file ends before l1_table",
    );
    is_refused(&[(48, &0u64.to_be_bytes())], "refcount_table_offset");
    is_refused(
        &[(48, &(cluster(7)).to_be_bytes())],
        "the file ends before refcount_table",
    );
    is_refused(&[(56, &u32::MAX.to_be_bytes())], "refcount_table_offset");
    is_refused(&[(96, &7u32.to_be_bytes())], "refcount_order");
    for length in [0u32, 72, 105, 1 << 17] {
        is_refused(&[(100, &length.to_be_bytes())], "header_length");
    }
    is_refused(
        &[(112, &0x1234u32.to_be_bytes()), (116, &u32::MAX.to_be_bytes())],
        "header extension",
    );
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let file = good();
    for length in [4, 50, 71, 103, 111] {
        assert!(check(&file[..length]).is_err(), "{length} bytes");
    }
    for (length, what) in [(3, "l1_table"), (4, "an L2 table"), (5, "data")] {
        let error = check(&file[..length * CLUSTER]).unwrap_err();
        assert!(error.contains(what) && error.contains("cut short"), "{error}");
    }
    let mut compressed = good();
    let sectors = 3 << (61 - 7);
    put(
        &mut compressed,
        4 * CLUSTER + 8,
        &(COMPRESSED | sectors | (cluster(5) + 9)).to_be_bytes(),
    );
    assert_eq!(check(&compressed), Ok(1 << 30));
    put(
        &mut compressed,
        4 * CLUSTER + 8,
        &(COMPRESSED | cluster(6)).to_be_bytes(),
    );
    assert!(check(&compressed).unwrap_err().contains("compressed data"));
}

#[test]
fn tables_that_point_between_clusters_are_refused() {
    is_refused(&[(3 * CLUSTER, &(cluster(4) + 512).to_be_bytes())], "l1_table");
    is_refused(&[(4 * CLUSTER, &(cluster(5) + 512).to_be_bytes())], "an L2 table");
}
