//! Filters and pages as SQL: a list reads the rows of one page, however many there are.

use super::tags::ResourceType;
use crate::store::{StoreError, Transaction, Value};
use tidemark_ecs::page::{Cursor, PageInfo, PageRequest, Start};
use tidemark_ecs::rules::TagFilter;

/// The WHERE part of a list: conditions that must all hold.
pub(crate) struct Conditions {
    table: &'static str,
    account: String,
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// The rows of one account.
    pub(crate) fn of_account(table: &'static str, account: &str) -> Self {
        let mut all = Self {
            table,
            account: account.to_owned(),
            terms: Vec::new(),
            values: Vec::new(),
        };
        all.equals("account", account);
        all
    }

    /// A condition of its own, in which every `?` stands for the next of `values`.
    pub(crate) fn term(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        let mut term = String::new();
        for letter in sql.chars() {
            if letter == '?' {
                self.values.extend(values.next());
                term.push_str(&format!("${}", self.values.len()));
            } else {
                term.push(letter);
            }
        }
        self.terms.push(term);
    }

    /// The column has this value.
    pub(crate) fn equals(&mut self, column: &str, value: impl Into<Value>) {
        self.term(&format!("{}.{column} = ?", self.table), [value.into()]);
    }

    /// As [`Self::equals`], if there is something to compare with.
    pub(crate) fn equals_if<V: Into<Value>>(&mut self, column: &str, value: Option<V>) {
        if let Some(value) = value {
            self.equals(column, value);
        }
    }

    /// The column is one of these; none of none.
    pub(crate) fn one_of(&mut self, column: &str, values: &[String]) {
        if values.is_empty() {
            return self.nothing();
        }
        let marks = vec!["?"; values.len()].join(", ");
        self.term(
            &format!("{}.{column} IN ({marks})", self.table),
            values.iter().map(Value::from),
        );
    }

    /// No row.
    pub(crate) fn nothing(&mut self) {
        self.terms.push("1 = 0".into());
    }

    /// A time column lies in a window; both ends belong to it, to the second.
    pub(crate) fn within(&mut self, column: &str, window: &tidemark_ecs::filter::Window) {
        if let Some(start) = window.start {
            self.term(
                &format!("{}.{column} >= ?", self.table),
                [start.as_millisecond().into()],
            );
        }
        if let Some(end) = window.end {
            let last = end.as_millisecond().saturating_add(999);
            self.term(&format!("{}.{column} <= ?", self.table), [last.into()]);
        }
    }

    /// The resource has all these tags; a key without value matches any value.
    pub(crate) fn tagged(&mut self, kind: ResourceType, tags: &[TagFilter]) {
        for TagFilter { key, value } in tags {
            let table = self.table;
            let mut sql = format!(
                "{table}.id IN (SELECT tags.resource_id FROM tags WHERE tags.account = ? AND tags.resource_type = ? \
                 AND tags.tag_key = ?"
            );
            let mut values = vec![Value::from(&self.account), kind.word().into(), Value::from(key)];
            if let Some(value) = value {
                sql.push_str(" AND tags.tag_value = ?");
                values.push(value.into());
            }
            sql.push(')');
            self.term(&sql, values);
        }
    }

    /// Reads everything that fulfils the conditions.
    pub(crate) fn all<R>(
        self,
        t: &mut dyn Transaction,
        select: impl FnOnce(&mut dyn Transaction, &str, &[Value]) -> Result<Vec<R>, StoreError>,
    ) -> Result<Vec<R>, StoreError> {
        select(t, &format!("WHERE {}", self.terms.join(" AND ")), &self.values)
    }

    /// Reads one page, newest first. `select` is the row type's own; `place` its ordinal and id.
    pub(crate) fn page<R>(
        self,
        t: &mut dyn Transaction,
        page: &PageRequest,
        select: impl FnOnce(&mut dyn Transaction, &str, &[Value]) -> Result<Vec<R>, StoreError>,
        place: impl Fn(&R) -> (i64, &str),
    ) -> Result<(Vec<R>, PageInfo), StoreError> {
        let table = self.table;
        let condition = self.terms.join(" AND ");
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
        let total = t.count(&sql, &self.values)?;
        let total_count = usize::try_from(total).unwrap_or(0);

        let mut values = self.values;
        let (after, skip) = match &page.start {
            Start::Number(number) => (String::new(), number.saturating_sub(1).saturating_mul(page.size)),
            Start::After(last) => {
                values.push(last.created.into());
                (format!(" AND {table}.ordinal < ${}", values.len()), 0)
            }
        };
        // One row more than the page tells whether there is a next one.
        let most = i64::try_from(page.size.saturating_add(1)).unwrap_or(i64::MAX);
        values.push(most.into());
        values.push(i64::try_from(skip).unwrap_or(i64::MAX).into());
        let rest = format!(
            "WHERE {condition}{after} ORDER BY {table}.ordinal DESC LIMIT ${} OFFSET ${}",
            values.len() - 1,
            values.len()
        );
        let mut rows = select(t, &rest, &values)?;
        let more = rows.len() > page.size;
        rows.truncate(page.size);
        let last = rows.last().filter(|_| more).map(|row| {
            let (ordinal, id) = place(row);
            Cursor {
                created: ordinal,
                id: id.to_owned(),
            }
            .encode()
        });
        let page_number = if let Start::Number(number) = page.start {
            number
        } else {
            1
        };
        let info = PageInfo {
            page_number,
            page_size: page.size,
            total_count,
            next_token: last.unwrap_or_default(),
        };
        Ok((rows, info))
    }
}
