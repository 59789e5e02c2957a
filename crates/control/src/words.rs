//! Enumerations that the API and the catalogue know by their word.

/// A state or a kind that is stored as its API word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$vdoc])* $variant ),* }

        #[allow(dead_code, reason = "not every word list is walked")]
        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[ $( $name::$variant ),* ];

            /// The word of the API and the catalogue.
            pub const fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(word: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|known| known.word() == word).ok_or(())
            }
        }

        impl $crate::catalogue::Column for $name {
            fn read(row: &$crate::store::Row, at: usize) -> Result<Self, $crate::store::StoreError> {
                row.parsed(at)
            }
            fn write(&self) -> $crate::store::Value {
                self.word().into()
            }
        }
    };
}
pub(crate) use words;
