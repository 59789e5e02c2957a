//! What a server tells about an export, and how that reads as transmission flags and block sizes.

use super::PAYLOAD_BYTES_MAX;
use super::wire::export_flag as flag;

/// Which message headers a connection uses after its handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Compact requests, simple replies: what a client gets that asked for nothing.
    #[default]
    Simple,
    /// Compact requests, structured replies.
    Structured,
    /// Extended requests and replies, with 64-bit lengths.
    Extended,
}

/// An export's line in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportEntry {
    /// The name to ask for.
    pub name: String,
    /// Text for people; may be empty.
    pub description: String,
}

/// What an export is and can do. Flush, FUA, WRITE_ZEROES (if writable) and CACHE are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportInfo {
    /// Its canonical name; the default export (empty name) has one too.
    pub name: String,
    /// Text for people; may be empty.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether trims are of use.
    pub trim: bool,
    /// Whether zeroing is always faster than writing, so that asking for that never fails.
    pub fast_zero: bool,
    /// Whether a flush covers completed writes of all connections to the export.
    pub multi_conn: bool,
    /// Metadata contexts that a client can select, by full name.
    pub contexts: Vec<String>,
}

impl ExportInfo {
    /// The 16 transmission flags.
    pub fn transmission_flags(&self, dialect: Dialect) -> u16 {
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA | flag::SEND_CACHE;
        let mut set = |on: bool, bit: u16| flags |= if on { bit } else { 0 };
        set(self.read_only, flag::READ_ONLY);
        set(!self.read_only, flag::SEND_WRITE_ZEROES);
        set(!self.read_only && self.trim, flag::SEND_TRIM);
        set(!self.read_only && self.fast_zero, flag::SEND_FAST_ZERO);
        set(self.multi_conn, flag::CAN_MULTI_CONN);
        set(dialect != Dialect::Simple, flag::SEND_DF);
        flags
    }

    /// Minimum, preferred and maximum sizes. The minimum is advice to clients: smaller requests are served.
    pub fn block_sizes(&self) -> [u32; 3] {
        // A minimum that does not divide the size would put the last bytes out of reach.
        let minimum = if self.size_bytes.is_multiple_of(512) {
            512
        } else {
            1
        };
        [minimum, 4096, PAYLOAD_BYTES_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(info: ExportInfo, dialect: Dialect) -> u16 {
        info.transmission_flags(dialect)
    }

    #[test]
    fn a_read_only_export_offers_no_way_to_change_it() {
        let info = ExportInfo {
            read_only: true,
            trim: true,
            fast_zero: true,
            ..ExportInfo::default()
        };
        let got = flags(info, Dialect::Simple);
        assert_eq!(
            got,
            flag::HAS_FLAGS | flag::READ_ONLY | flag::SEND_FLUSH | flag::SEND_FUA | flag::SEND_CACHE
        );
    }

    #[test]
    fn fast_zero_and_multi_conn_only_if_true() {
        let plain = flags(ExportInfo::default(), Dialect::Simple);
        assert_eq!(
            plain & (flag::SEND_FAST_ZERO | flag::CAN_MULTI_CONN | flag::SEND_TRIM),
            0
        );
        let able = ExportInfo {
            trim: true,
            fast_zero: true,
            multi_conn: true,
            ..ExportInfo::default()
        };
        let wanted = flag::SEND_FAST_ZERO | flag::CAN_MULTI_CONN | flag::SEND_TRIM | flag::SEND_WRITE_ZEROES;
        assert_eq!(flags(able, Dialect::Simple) & wanted, wanted);
    }

    #[test]
    fn unfragmented_reads_need_chunked_replies() {
        assert_eq!(flags(ExportInfo::default(), Dialect::Simple) & flag::SEND_DF, 0);
        assert_ne!(
            flags(ExportInfo::default(), Dialect::Structured) & flag::SEND_DF,
            0
        );
    }

    #[test]
    fn the_minimum_block_divides_the_size() {
        let sizes = |size_bytes| {
            ExportInfo {
                size_bytes,
                ..ExportInfo::default()
            }
            .block_sizes()
        };
        assert_eq!(sizes(1 << 20), [512, 4096, 32 << 20]);
        assert_eq!(sizes(1000), [1, 4096, 32 << 20]);
    }
}
