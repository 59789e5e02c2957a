//! A table's columns, said once: the struct, the reading and the writing of its rows.

use crate::store::{Row, StoreError, Value};

/// A type that fits a column.
pub(crate) trait Column: Sized {
    /// Reads it from a row.
    fn read(row: &Row, at: usize) -> Result<Self, StoreError>;
    /// As a statement's parameter.
    fn write(&self) -> Value;
}

macro_rules! column {
    ($($type:ty, $read:ident;)*) => {$(
        impl Column for $type {
            fn read(row: &Row, at: usize) -> Result<Self, StoreError> {
                row.$read(at)
            }
            fn write(&self) -> Value {
                self.clone().into()
            }
        }
    )*};
}

column! {
    i64, integer;
    Option<i64>, integer_or_null;
    bool, flag;
    String, text;
    Option<String>, text_or_null;
}

/// Declares the row type of a table whose first column is its key.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident = $table:literal { $key:ident : $key_type:ty, $( $(#[$fdoc:meta])* $field:ident : $type:ty ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name {
            pub(crate) $key: $key_type,
            $( $(#[$fdoc])* pub(crate) $field: $type ),*
        }

        #[allow(dead_code, reason = "not every table needs every operation")]
        impl $name {
            pub(crate) const TABLE: &str = $table;
            const COLUMNS: &[&str] = &[stringify!($key), $( stringify!($field) ),*];

            fn from_row(row: &$crate::store::Row) -> Result<Self, $crate::store::StoreError> {
                #[allow(unused_imports)]
                use $crate::catalogue::Column;
                let mut at = 0..;
                let mut next = || at.next().unwrap_or_default();
                Ok(Self {
                    $key: Column::read(row, next())?,
                    $( $field: Column::read(row, next())? ),*
                })
            }

            fn values(&self) -> Vec<$crate::store::Value> {
                use $crate::catalogue::Column;
                vec![Column::write(&self.$key), $( Column::write(&self.$field) ),*]
            }

            /// All rows that fulfil `rest` (what follows FROM and the table's name).
            pub(crate) fn select(
                t: &mut dyn $crate::store::Transaction,
                rest: &str,
                parameters: &[$crate::store::Value],
            ) -> Result<Vec<Self>, $crate::store::StoreError> {
                let columns = Self::COLUMNS.iter().map(|c| format!("{}.{c}", Self::TABLE)).collect::<Vec<_>>();
                let sql = format!("SELECT {} FROM {} {rest}", columns.join(", "), Self::TABLE);
                t.query(&sql, parameters)?.iter().map(Self::from_row).collect()
            }

            /// The row with this key.
            pub(crate) fn get(
                t: &mut dyn $crate::store::Transaction,
                key: impl Into<$crate::store::Value>,
            ) -> Result<Option<Self>, $crate::store::StoreError> {
                let rest = concat!("WHERE ", stringify!($key), " = $1");
                Ok(Self::select(t, rest, &[key.into()])?.pop())
            }

            /// Adds the row.
            pub(crate) fn insert(&self, t: &mut dyn $crate::store::Transaction) -> Result<(), $crate::store::StoreError> {
                let marks: Vec<_> = (1..=Self::COLUMNS.len()).map(|n| format!("${n}")).collect();
                let sql = format!(
                    "INSERT INTO {} ({}) VALUES ({})",
                    Self::TABLE, Self::COLUMNS.join(", "), marks.join(", ")
                );
                t.execute(&sql, &self.values()).map(drop)
            }

            /// Writes the row over the one with its key.
            pub(crate) fn save(&self, t: &mut dyn $crate::store::Transaction) -> Result<(), $crate::store::StoreError> {
                let sets: Vec<_> = Self::COLUMNS.iter().enumerate().skip(1).map(|(n, c)| format!("{c} = ${}", n + 1)).collect();
                let sql = format!("UPDATE {} SET {} WHERE {} = $1", Self::TABLE, sets.join(", "), stringify!($key));
                t.execute(&sql, &self.values()).map(drop)
            }

            /// Removes the row.
            pub(crate) fn remove(&self, t: &mut dyn $crate::store::Transaction) -> Result<(), $crate::store::StoreError> {
                let sql = format!("DELETE FROM {} WHERE {} = $1", Self::TABLE, stringify!($key));
                t.execute(&sql, &[$crate::catalogue::Column::write(&self.$key)]).map(drop)
            }
        }
    };
}
pub(crate) use record;
