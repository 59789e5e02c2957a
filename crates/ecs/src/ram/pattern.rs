//! Patterns of policies: `*` stands for any text, `?` for one character.

/// Whether `text` has the form of `pattern`. Takes time in proportion to the product of both lengths at worst.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, seen) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything/at:all", true),
            ("ecs:Describe*", "ecs:DescribeSnapshots", true),
            ("ecs:Describe*", "ecs:DeleteSnapshot", false),
            ("ecs:*Snapshot", "ecs:DeleteSnapshot", true),
            ("ecs:*Snapshot", "ecs:DescribeSnapshots", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("d-?", "d-1", true),
            ("d-?", "d-12", false),
            ("d-?", "d-", false),
            ("", "", true),
            ("", "a", false),
            ("snapshot/s-1", "snapshot/*", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_not_slow() {
        let pattern = "*a".repeat(300);
        assert!(!matches(&pattern, &"b".repeat(3000)));
        assert!(matches(&pattern, &"a".repeat(3000)));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_any_star_in_it(text in "[a-z:/]{0,20}", at in 0usize..20) {
            prop_assert!(matches(&text, &text));
            let at = at.min(text.len());
            let starred = format!("{}*{}", &text[..at], &text[at..]);
            prop_assert!(matches(&starred, &text));
        }
    }
}
