//! Programs of the machine that commands use where they are installed.

use anyhow::{Result, bail};
use std::path::PathBuf;

/// An administrator's tool, also when it is not on the search path of ordinary users. A name with a slash is a place.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|tool| tool.is_file() && tool.is_absolute())
}

/// All of these programs and files, each with the Debian package that brings it; or one error that names all that is missing.
pub fn need<const N: usize>(what_for: &str, tools: [(&str, &str); N]) -> Result<[PathBuf; N]> {
    let found = tools.map(|(name, _)| find_tool(name));
    let missing: Vec<_> = tools
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|((name, package), _)| (*name, *package))
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        bail!(
            "{what_for} needs {}, which are not on this machine; on Debian: apt-get install {}",
            names.join(", "),
            packages.join(" ")
        );
    }
    Ok(found.map(Option::unwrap_or_default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_in_one_error() {
        let tools = [
            ("sh", "dash"),
            ("no-such-a", "p-two"),
            ("/no/such/b", "p-one"),
            ("no-such-c", "p-one"),
        ];
        let error = need("a test", tools).unwrap_err().to_string();
        assert!(error.contains("no-such-a, /no/such/b, no-such-c"), "{error}");
        assert!(error.ends_with("apt-get install p-one p-two"), "{error}");
        let [shell] = need("a test", [("sh", "dash")]).unwrap();
        assert!(shell.is_file());
    }
}
