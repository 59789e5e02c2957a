//! The data of options: lengths and strings out of a body of known size, and what each option means.

use super::wire::{STRING_BYTES_MAX, option};
use bytes::Buf;

/// Most bytes of data that an option may have. A client that announces more is told so and cut off:
/// the bytes would have to be read before anything else could be.
pub const OPTION_BYTES_MAX: u32 = 64 << 10;

/// Most information requests or metadata queries in one option.
const LIST_ITEMS_MAX: usize = 1024;

/// A well-formed option.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientOption {
    ExportName(String),
    Abort,
    List,
    StartTls,
    /// INFO, or GO if `go`.
    Info {
        go: bool,
        name: String,
        wanted: Vec<u16>,
    },
    StructuredReply,
    /// LIST_META_CONTEXT, or SET_META_CONTEXT if `set`.
    Meta {
        set: bool,
        name: String,
        queries: Vec<String>,
    },
    ExtendedHeaders,
    Unknown,
}

/// Why an option's data makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the option takes no data")]
    DataNotAllowed,
    #[error("the option's data ends too early")]
    Truncated,
    #[error("the option has bytes behind its data")]
    TrailingBytes,
    #[error("a string is longer than {STRING_BYTES_MAX} bytes")]
    StringTooLong,
    #[error("a string is not UTF-8 without NUL")]
    NotText,
    #[error("a metadata query has no namespace")]
    NoNamespace,
    #[error("more than {LIST_ITEMS_MAX} items in a list")]
    TooManyItems,
}

/// Reads the data `body` of an option of type `code`.
pub(super) fn parse(code: u32, mut body: &[u8]) -> Result<ClientOption, Malformed> {
    let parsed = match code {
        option::EXPORT_NAME => {
            let name = text(body)?;
            body = &[];
            ClientOption::ExportName(name)
        }
        option::ABORT => {
            // Data is to be ignored here rather than refused.
            body = &[];
            ClientOption::Abort
        }
        option::LIST => no_data(body, ClientOption::List)?,
        option::STARTTLS => no_data(body, ClientOption::StartTls)?,
        option::STRUCTURED_REPLY => no_data(body, ClientOption::StructuredReply)?,
        option::EXTENDED_HEADERS => no_data(body, ClientOption::ExtendedHeaders)?,
        option::INFO | option::GO => {
            let name = string(&mut body)?;
            let count = body.try_get_u16().map_err(|_| Malformed::Truncated)?;
            let wanted = items(u32::from(count), || {
                body.try_get_u16().map_err(|_| Malformed::Truncated)
            })?;
            ClientOption::Info {
                go: code == option::GO,
                name,
                wanted,
            }
        }
        option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
            let name = string(&mut body)?;
            let count = body.try_get_u32().map_err(|_| Malformed::Truncated)?;
            let queries = items(count, || string(&mut body))?;
            if queries
                .iter()
                .any(|query| query.find(':').is_none_or(|colon| colon == 0))
            {
                return Err(Malformed::NoNamespace);
            }
            ClientOption::Meta {
                set: code == option::SET_META_CONTEXT,
                name,
                queries,
            }
        }
        _ => {
            body = &[];
            ClientOption::Unknown
        }
    };
    if body.is_empty() {
        Ok(parsed)
    } else {
        Err(Malformed::TrailingBytes)
    }
}

fn no_data(body: &[u8], option: ClientOption) -> Result<ClientOption, Malformed> {
    if body.is_empty() {
        Ok(option)
    } else {
        Err(Malformed::DataNotAllowed)
    }
}

/// `count` items, each read by `next`. Never trusts `count` for an allocation.
fn items<T>(count: u32, mut next: impl FnMut() -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let mut found = Vec::new();
    for _ in 0..count {
        if found.len() == LIST_ITEMS_MAX {
            return Err(Malformed::TooManyItems);
        }
        found.push(next()?);
    }
    Ok(found)
}

/// A string behind its 32-bit length.
fn string(body: &mut &[u8]) -> Result<String, Malformed> {
    let len = body.try_get_u32().map_err(|_| Malformed::Truncated)? as usize;
    let (head, rest) = body.split_at_checked(len).ok_or(Malformed::Truncated)?;
    *body = rest;
    text(head)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    if bytes.len() > STRING_BYTES_MAX {
        return Err(Malformed::StringTooLong);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(Malformed::NotText),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_len(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes(), text].concat()
    }

    #[test]
    fn go_with_requests() {
        let body = [with_len(b"d-1"), vec![0, 2, 0, 3, 0, 1]].concat();
        let wanted = ClientOption::Info {
            go: true,
            name: "d-1".into(),
            wanted: vec![3, 1],
        };
        assert_eq!(parse(option::GO, &body), Ok(wanted));
    }

    #[test]
    fn a_name_longer_than_its_option() {
        assert_eq!(
            parse(option::GO, &[0xff, 0xff, 0xff, 0xff, 0, 0]),
            Err(Malformed::Truncated)
        );
    }

    #[test]
    fn a_count_without_items() {
        let body = [with_len(b""), vec![0xff; 4]].concat();
        assert_eq!(parse(option::SET_META_CONTEXT, &body), Err(Malformed::Truncated));
    }

    #[test]
    fn too_many_empty_looking_queries() {
        let query = with_len(b"x:");
        let body = [with_len(b""), 2000u32.to_be_bytes().to_vec(), query.repeat(2000)].concat();
        assert_eq!(
            parse(option::LIST_META_CONTEXT, &body),
            Err(Malformed::TooManyItems)
        );
    }

    #[test]
    fn queries_need_a_namespace() {
        for query in [&b"allocation"[..], b":allocation", b""] {
            let body = [with_len(b"d"), vec![0, 0, 0, 1], with_len(query)].concat();
            assert_eq!(
                parse(option::SET_META_CONTEXT, &body),
                Err(Malformed::NoNamespace)
            );
        }
    }

    #[test]
    fn data_where_none_belongs() {
        assert_eq!(parse(option::LIST, b"x"), Err(Malformed::DataNotAllowed));
        assert_eq!(parse(option::ABORT, b"x"), Ok(ClientOption::Abort));
        let body = [with_len(b"d"), vec![0, 0, 9]].concat();
        assert_eq!(parse(option::INFO, &body), Err(Malformed::TrailingBytes));
    }

    #[test]
    fn names_are_text() {
        assert_eq!(parse(option::EXPORT_NAME, b"a\0b"), Err(Malformed::NotText));
        assert_eq!(parse(option::EXPORT_NAME, &[0xff, 0xfe]), Err(Malformed::NotText));
        assert_eq!(
            parse(option::EXPORT_NAME, &[b'a'; 4097]),
            Err(Malformed::StringTooLong)
        );
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(code in 0u32..14, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(code, &body);
        }
    }
}
