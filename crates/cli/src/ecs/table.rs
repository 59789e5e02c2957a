//! `--output cols=A,B [rows=X.Y[]] [num=true]`: the answer as a table, byte for byte as the
//! reference client prints it.
//!
//! Rows are a JMESPath expression that must yield an array; columns are JMESPath expressions on
//! each row (for rows that are arrays themselves: `Name:index`). What a row lacks prints `<nil>`.
//! Cells are padded to their column plus one space; `| ` stands between them. The dashes are as
//! long as the column's name, not as the column.

use super::query::search;
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// What to print of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Expressions on a row; they are the header, too.
    pub columns: Vec<String>,
    /// Expression on the answer; without it the answer is the one row.
    pub rows: Option<String>,
    /// Whether rows are numbered from 0.
    pub numbered: bool,
}

impl Table {
    /// Splits the value of `cols=`, which may be in double quotes.
    pub fn columns(text: &str) -> Vec<String> {
        let bare = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        bare.split(',').map(str::to_string).collect()
    }

    /// The whole table, each line ended. Fails when the text is no JSON or rows are no array.
    pub fn render(&self, text: &str) -> Result<String> {
        let answer: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => bail!("unmarshal output failed {error}"),
        };
        let path = match &self.rows {
            Some(rows) => format!("RootFilter[0].{rows}"),
            None => "RootFilter".to_string(),
        };
        let Value::Array(rows) = search(&path, &json!({ "RootFilter": [answer] }))? else {
            bail!("jmespath: '{path}' failed Need Array Expr");
        };

        let columns = self.resolve(rows.first().is_some_and(Value::is_array))?;
        let number = self.numbered.then_some("Num");
        let names = || {
            number
                .into_iter()
                .chain(columns.iter().map(|(name, _)| name.as_str()))
        };
        let mut lines = vec![
            names().map(str::to_string).collect::<Vec<_>>(),
            names().map(|name| "-".repeat(name.len())).collect(),
        ];
        for (index, row) in rows.iter().enumerate() {
            let number = self.numbered.then(|| index.to_string());
            // A column that cannot be evaluated is an absent one.
            let cells = columns
                .iter()
                .map(|(_, path)| plain(&search(path, row).unwrap_or_default()));
            lines.push(number.into_iter().chain(cells).collect());
        }
        let text: String = lines.iter().map(|cells| cells.join("\t ") + "\n").collect();
        Ok(align(&text))
    }

    /// Each column's name and its expression on a row.
    fn resolve(&self, rows_are_arrays: bool) -> Result<Vec<(String, String)>> {
        self.columns
            .iter()
            .map(|column| {
                if !rows_are_arrays {
                    return Ok((column.clone(), column.clone()));
                }
                match column.split_once(':') {
                    Some((name, index)) if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => {
                        Ok((name.to_string(), format!("[{index}]")))
                    }
                    _ => bail!(
                        "colNames: {column} must be string:number format, like 'name:0', 0 is the array index"
                    ),
                }
            })
            .collect()
    }
}

/// A value in the notation of the reference client's language.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(k, v)| format!("{k}:{}", plain(v)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// Elastic tab stops: a cell ends with a tab; cells above each other in consecutive lines form a
/// column and get its width plus one space; the last cell of a line belongs to no column. A bar
/// stands before each cell but the first.
fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths = vec![Vec::new(); lines.len()];
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let in_block = |line: &Vec<&str>| line.len() > column + 1;
            let end = start + lines[start..].iter().take_while(|line| in_block(line)).count();
            if end == start {
                start += 1;
                continue;
            }
            let width = lines[start..end]
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
                + 1;
            widths[start..end].iter_mut().for_each(|line| line.push(width));
            start = end;
        }
    }
    let mut out = String::new();
    for (cells, widths) in lines.iter().zip(widths) {
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push('|');
            }
            out.push_str(cell);
            if let Some(width) = widths.get(at) {
                out.extend(std::iter::repeat_n(
                    ' ',
                    width.saturating_sub(cell.chars().count()),
                ));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &str, rows: Option<&str>, numbered: bool) -> Table {
        Table {
            columns: Table::columns(columns),
            rows: rows.map(str::to_string),
            numbered,
        }
    }

    const ANSWER: &str = r#"{"Snapshots":{"Snapshot":[
        {"SnapshotId":"s-bp1aaaaaaaaaaaaaaaaa","Status":"accomplished","Size":8,"Tags":{"Tag":[{"TagKey":"k","TagValue":"v"}]}},
        {"SnapshotId":"s-2","Status":"progressing","Encrypted":false}]},"TotalCount":2}"#;

    #[test]
    fn the_table_of_the_walkthrough() {
        assert_eq!(
            table("SnapshotId,Status", Some("Snapshots.Snapshot[]"), false)
                .render(ANSWER)
                .unwrap(),
            "SnapshotId             | Status\n\
             ----------             | ------\n\
             s-bp1aaaaaaaaaaaaaaaaa | accomplished\n\
             s-2                    | progressing\n"
        );
    }

    #[test]
    fn one_column_has_no_bar_and_absent_is_nil() {
        assert_eq!(
            table("Name", Some("Snapshots.Snapshot[]"), false)
                .render(ANSWER)
                .unwrap(),
            "Name\n----\n<nil>\n<nil>\n"
        );
    }

    #[test]
    fn numbers_count_from_zero_and_values_are_plain() {
        assert_eq!(
            table("Size,Encrypted,Tags", Some("Snapshots.Snapshot[]"), true)
                .render(ANSWER)
                .unwrap(),
            "Num | Size  | Encrypted | Tags\n\
             --- | ----  | --------- | ----\n\
             0   | 8     | <nil>     | map[Tag:[map[TagKey:k TagValue:v]]]\n\
             1   | <nil> | false     | <nil>\n"
        );
    }

    #[test]
    fn no_rows_is_a_table_too() {
        let empty = r#"{"Instances":{"Instance":[]}}"#;
        let text = table("InstanceId,InstanceName", Some("Instances.Instance[]"), false)
            .render(empty)
            .unwrap();
        assert_eq!(text, "InstanceId | InstanceName\n---------- | ------------\n");
    }

    #[test]
    fn without_rows_the_answer_is_the_row() {
        assert_eq!(
            table("TotalCount", None, false).render(ANSWER).unwrap(),
            "TotalCount\n----------\n2\n"
        );
    }

    #[test]
    fn rows_that_are_arrays_take_indices() {
        let answer = r#"{"P":[[1,2],[3,4]]}"#;
        let text = table("a:0,b:1", Some("P"), true).render(answer).unwrap();
        assert_eq!(text, "Num | a | b\n--- | - | -\n0   | 1 | 2\n1   | 3 | 4\n");
        let error = table("a", Some("P"), false)
            .render(answer)
            .unwrap_err()
            .to_string();
        assert!(error.contains("colNames: a "), "{error}");
    }

    #[test]
    fn rows_must_be_an_array() {
        for rows in ["TotalCount", "Nothing", "Snapshots"] {
            let error = table("A", Some(rows), false)
                .render(ANSWER)
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!("jmespath: 'RootFilter[0].{rows}' failed Need Array Expr")
            );
        }
        assert!(table("A", Some("["), false).render(ANSWER).is_err());
    }

    #[test]
    fn quotes_around_columns_are_dropped_and_wide_text_is_counted_in_characters() {
        let answer = r#"{"R":[{"N":"中文","M":1}]}"#;
        let text = table("\"N,M\"", Some("R"), false).render(answer).unwrap();
        assert_eq!(text, "N  | M\n-  | -\n中文 | 1\n");
    }

    #[test]
    fn a_line_break_in_a_value_ends_the_column() {
        let answer = r#"{"R":[{"N":"long\nx","M":1},{"N":"y","M":2}]}"#;
        let text = table("N,M", Some("R"), false).render(answer).unwrap();
        assert_eq!(text, "N | M\n- | -\nlong\nx | 1\ny | 2\n");
    }
}
