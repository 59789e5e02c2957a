//! The stylesheet, the script and the icon: in the binary, under names that change with their content, so that browsers
//! keep them for good and never show an old one.

use crate::http;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const STYLE: Asset = Asset {
    name: "console.css",
    kind: "text/css; charset=utf-8",
    content: include_str!("assets/console.css"),
};
const SCRIPT: Asset = Asset {
    name: "console.js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("assets/console.js"),
};
const ICON: Asset = Asset {
    name: "icon.svg",
    kind: "image/svg+xml",
    content: include_str!("assets/icon.svg"),
};

/// A year: the name changes when the content does.
const KEPT: &str = "public, max-age=31536000, immutable";

impl Asset {
    fn path(&self) -> String {
        let hash = tidemark_control::token_hash(self.content);
        format!("/console/assets/{}/{}", &hash[..16], self.name)
    }
}

/// Where the stylesheet is.
pub(crate) fn style() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| STYLE.path());
    &PATH
}

/// Where the script is.
pub(crate) fn script() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| SCRIPT.path());
    &PATH
}

/// Where the icon is.
pub(crate) fn icon() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| ICON.path());
    &PATH
}

/// The asset at that place below `/console/`.
pub(crate) fn serve(path: &str) -> Response<Body> {
    let found = [(style(), &STYLE), (script(), &SCRIPT), (icon(), &ICON)]
        .into_iter()
        .find(|(own, _)| own.strip_prefix("/console/") == Some(path));
    let Some((_, asset)) = found else {
        return http::plain(StatusCode::NOT_FOUND, "There is no such file.");
    };
    let mut response = Response::new(Body::from(asset.content));
    http::set(&mut response, header::CONTENT_TYPE, asset.kind);
    http::set(&mut response, header::CACHE_CONTROL, KEPT);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a page of a hundred rows it stays below 100 KiB.
    #[test]
    fn all_together_are_small() {
        let bytes = STYLE.content.len() + SCRIPT.content.len() + ICON.content.len();
        assert!(bytes < 48 * 1024, "{bytes} bytes");
    }

    #[test]
    fn they_are_served_under_their_own_names_only() {
        let path = style().strip_prefix("/console/").expect("below the console");
        assert_eq!(serve(path).status(), StatusCode::OK);
        assert_eq!(
            serve("assets/0000000000000000/console.css").status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(serve("assets/../secrets.key").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in [&STYLE, &SCRIPT] {
            assert!(
                !asset.content.contains("http://") && !asset.content.contains("https://"),
                "{}",
                asset.name
            );
            assert!(!asset.content.contains("@import"), "{}", asset.name);
        }
    }
}
