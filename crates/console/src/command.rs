//! The command line that does what a form does. It stands beside every action, so that who clicks today can script tomorrow.
//!
//! The script writes the same line while somebody types (`assets/console.js`); what is quoted and left out here is there, too.

use crate::fields::Fields;

/// `tidemark ecs <Action> --RegionId … --Name value …`.
pub(crate) fn line(action: &str, region: &str, fields: &Fields) -> String {
    let mut text = format!("tidemark ecs {action} --RegionId {}", quoted(region));
    for (name, value) in fields.parameters() {
        if name != "RegionId" {
            text.push_str(&format!(" --{name} {}", quoted(&value)));
        }
    }
    // So many of the same.
    match fields.text("_Quantity").parse::<u64>() {
        Ok(count) if count > 1 => format!("for n in $(seq {count}); do {text}; done"),
        _ => text,
    }
}

/// A word of a shell's line.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_does_what_the_form_does() {
        let form =
            Fields::parse("_csrf=x&DiskId=d-1&SnapshotName=before+the+change&Description=").expect("a form");
        assert_eq!(
            line("CreateSnapshot", "cn-hangzhou", &form),
            "tidemark ecs CreateSnapshot --RegionId cn-hangzhou --DiskId d-1 --SnapshotName 'before the change'"
        );
    }

    #[test]
    fn several_of_the_same_are_a_loop() {
        let form = Fields::parse("_Quantity=3&Size=20").expect("a form");
        assert_eq!(
            line("CreateDisk", "r", &form),
            "for n in $(seq 3); do tidemark ecs CreateDisk --RegionId r --Size 20; done"
        );
    }

    #[test]
    fn a_word_stays_one_word_whatever_is_in_it() {
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted("[\"1\"]"), "'[\"1\"]'");
    }
}
