//! The command line that does what a form does. It stands beside every action, so that who clicks today can script tomorrow.
//!
//! The script writes the same line while somebody types (`assets/console.js`); what is quoted and left out here is there, too.

use crate::acts::Each;
use crate::fields::Fields;

/// `tidemark ecs <Action> --RegionId … --Name value …`.
pub(crate) fn line(action: &str, region: &str, fields: &Fields) -> String {
    let mut text = format!("tidemark ecs {action} --RegionId {}", quoted(region));
    for (name, value) in fields.parameters() {
        if name != "RegionId" {
            text.push_str(&format!(" --{name} {}", quoted(&value)));
        }
    }
    // A second step of the form, where there is one.
    let after = after(action, region, fields);
    // So many of the same.
    let count = fields.text("_Quantity");
    let is_number = count.len() <= 3 && count.bytes().all(|byte| byte.is_ascii_digit());
    match count.parse::<u64>() {
        Ok(count) if is_number && count > 1 => format!("for n in $(seq {count}); do {text}; done{after}"),
        _ => text + &after,
    }
}

/// What a form asks for once its action is really done (`afterwards`). It has to be waited for, so it is no part of the command, but told behind it.
fn after(action: &str, region: &str, fields: &Fields) -> String {
    let step = match (action, fields.get("_attach"), fields.get("_instance")) {
        ("CreateDisk", Some(instance), _) => {
            format!(
                "AttachDisk --RegionId {} --InstanceId {} --DiskId …",
                quoted(region),
                quoted(instance)
            )
        }
        ("ResetDisk" | "ResetDisks", _, Some(instance)) if fields.get("_start").is_some() => {
            format!(
                "StartInstance --RegionId {} --InstanceId {}",
                quoted(region),
                quoted(instance)
            )
        }
        _ => return String::new(),
    };
    format!("  # then, when it is done: tidemark ecs {step}")
}

/// The same for each of several things that are ticked; nothing if none is.
pub(crate) fn each(each: &Each, region: &str, fields: &Fields) -> String {
    let ids: Vec<String> = fields
        .all("_each")
        .filter(|id| !id.is_empty())
        .map(quoted)
        .collect();
    if ids.is_empty() {
        return String::new();
    }
    let line = line(each.action, region, fields);
    format!(
        "for id in {}; do {line} --{} \"$id\"; done",
        ids.join(" "),
        each.parameter
    )
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
    fn a_second_step_is_told_behind_the_first() {
        let form = Fields::parse("DiskId=d-1&SnapshotId=s-1&_instance=i-1&_start=true").expect("a form");
        let line = line("ResetDisk", "r", &form);
        let (own, after) = line.split_once("  # ").expect("two steps");
        assert_eq!(
            own,
            "tidemark ecs ResetDisk --RegionId r --DiskId d-1 --SnapshotId s-1"
        );
        assert!(
            after.ends_with("tidemark ecs StartInstance --RegionId r --InstanceId i-1"),
            "{after}"
        );
    }

    #[test]
    fn the_same_for_each_that_is_ticked() {
        let resize = crate::acts::EACH
            .iter()
            .find(|each| each.action == "ResizeDisk")
            .expect("known");
        let form = Fields::parse("_each=d-1&_each=d-2&NewSize=3").expect("a form");
        assert_eq!(
            each(resize, "r", &form),
            "for id in d-1 d-2; do tidemark ecs ResizeDisk --RegionId r --NewSize 3 --DiskId \"$id\"; done"
        );
        assert_eq!(each(resize, "r", &Fields::default()), "");
    }

    #[test]
    fn a_word_stays_one_word_whatever_is_in_it() {
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted("[\"1\"]"), "'[\"1\"]'");
    }
}
