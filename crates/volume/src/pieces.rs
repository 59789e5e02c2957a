//! Bytes in pieces, without copying them together.

use bytes::Bytes;
use std::collections::VecDeque;

/// The first `len` bytes of a queue of pieces.
pub fn take_front(pieces: &mut VecDeque<Bytes>, mut len: u64) -> Vec<Bytes> {
    let mut out = Vec::new();
    while len > 0 {
        let Some(front) = pieces.front_mut() else { break };
        if front.len() as u64 <= len {
            len -= front.len() as u64;
            out.extend(pieces.pop_front());
        } else {
            out.push(front.split_to(len as usize));
            len = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_cut_where_it_ends() {
        let mut pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")].into();
        assert_eq!(take_front(&mut pieces, 4).concat(), b"abcd");
        assert_eq!(take_front(&mut pieces, 3).concat(), b"efg");
    }
}
