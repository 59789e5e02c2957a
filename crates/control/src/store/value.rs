//! Values that go into statements and come out of rows.

use super::{StoreError, StoreErrorKind};

/// A column's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    Null,
    /// BIGINT; flags are 0 and 1.
    Integer(i64),
    /// TEXT.
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Integer(flag.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::Text(text.clone())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// One row of an answer. Columns are taken by position, each with the type that the query implies; a
/// wrong one means that the file was changed behind our back (`Corrupt`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub(super) Vec<Value>);

impl Row {
    fn value(&self, column: usize) -> Result<&Value, StoreError> {
        self.0.get(column).ok_or_else(|| self.wrong(column, "a column"))
    }

    fn wrong(&self, column: usize, wanted: &str) -> StoreError {
        let cause = format!("expected {wanted}, found {:?}", self.0.get(column));
        StoreError::new(
            StoreErrorKind::Corrupt,
            format!("column {column} of a row"),
            cause,
        )
    }

    /// A BIGINT that is never null.
    pub fn integer(&self, column: usize) -> Result<i64, StoreError> {
        match self.value(column)? {
            Value::Integer(number) => Ok(*number),
            _ => Err(self.wrong(column, "an integer")),
        }
    }

    /// A BIGINT that may be null.
    pub fn integer_or_null(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            _ => self.integer(column).map(Some),
        }
    }

    /// A flag.
    pub fn flag(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.integer(column)? != 0)
    }

    /// A TEXT that is never null.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        match self.value(column)? {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.wrong(column, "a text")),
        }
    }

    /// A TEXT that may be null.
    pub fn text_or_null(&self, column: usize) -> Result<Option<String>, StoreError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// A TEXT that stands for something: a status, a kind.
    pub fn parsed<T: std::str::FromStr>(&self, column: usize) -> Result<T, StoreError> {
        self.text(column)?
            .parse()
            .map_err(|_| self.wrong(column, std::any::type_name::<T>()))
    }
}
