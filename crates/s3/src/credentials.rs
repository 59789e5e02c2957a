//! Who we are to the store: a key from the environment.
//!
//! What must stay true: a secret is in no text. It has no `Display`, its `Debug` says nothing, and only the
//! signer reads it.

use crate::location::Scheme;

/// A key of the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

/// No usable key in the environment; says which variable to set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(String);

/// The names that one vendor's tools use.
struct Names {
    id: &'static str,
    secret: &'static str,
    token: &'static str,
}

const AWS: Names = Names {
    id: "AWS_ACCESS_KEY_ID",
    secret: "AWS_SECRET_ACCESS_KEY",
    token: "AWS_SESSION_TOKEN",
};
const ALIBABA: Names = Names {
    id: "ALIBABA_CLOUD_ACCESS_KEY_ID",
    secret: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    token: "ALIBABA_CLOUD_SECURITY_TOKEN",
};

impl Credentials {
    /// The key in the environment: for `oss://` the names of Alibaba Cloud's tools come first, the names of
    /// AWS's are always understood.
    pub fn from_env(scheme: Scheme, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CredentialsError> {
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let sets: &[Names] = match scheme {
            Scheme::S3 => &[AWS],
            Scheme::Oss => &[ALIBABA, AWS],
        };
        for names in sets {
            match (get(names.id), get(names.secret)) {
                (Some(key_id), Some(secret)) => {
                    return Ok(Self {
                        key_id,
                        secret,
                        token: get(names.token),
                    });
                }
                (None, None) => {}
                (Some(_), None) => {
                    return Err(CredentialsError(format!(
                        "{} is set without {}",
                        names.id, names.secret
                    )));
                }
                (None, Some(_)) => {
                    return Err(CredentialsError(format!(
                        "{} is set without {}",
                        names.secret, names.id
                    )));
                }
            }
        }
        Err(CredentialsError(format!(
            "no credentials for the bucket: set {} and {} in the environment",
            sets[0].id, sets[0].secret
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(scheme: Scheme, env: &[(&str, &str)]) -> Result<Credentials, String> {
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Credentials::from_env(scheme, &get).map_err(|e| e.to_string())
    }

    #[test]
    fn a_key_comes_whole_or_not_at_all() {
        let key = found(
            Scheme::S3,
            &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s")],
        )
        .unwrap();
        assert_eq!((key.key_id.as_str(), key.token), ("id", None));
        let error = found(Scheme::S3, &[("AWS_ACCESS_KEY_ID", "id")]).unwrap_err();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
        let error = found(Scheme::S3, &[("AWS_SECRET_ACCESS_KEY", "hunter2")]).unwrap_err();
        assert!(
            error.contains("AWS_ACCESS_KEY_ID") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(
            found(Scheme::S3, &[("AWS_ACCESS_KEY_ID", "")])
                .unwrap_err()
                .contains("set AWS_ACCESS_KEY_ID")
        );
    }

    #[test]
    fn oss_takes_its_vendors_names_first() {
        let both = [
            ("AWS_ACCESS_KEY_ID", "aws"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ali"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
            ("ALIBABA_CLOUD_SECURITY_TOKEN", "t"),
        ];
        let key = found(Scheme::Oss, &both).unwrap();
        assert_eq!((key.key_id.as_str(), key.token.as_deref()), ("ali", Some("t")));
        assert_eq!(found(Scheme::Oss, &both[..2]).unwrap().key_id, "aws");
        assert_eq!(found(Scheme::S3, &both).unwrap().key_id, "aws");
        assert!(
            found(Scheme::Oss, &[])
                .unwrap_err()
                .contains("ALIBABA_CLOUD_ACCESS_KEY_ID")
        );
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = found(
            Scheme::S3,
            &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hunter2")],
        )
        .unwrap();
        let shown = format!("{key:?} {key:#?}");
        assert!(!shown.contains("hunter2") && !shown.contains("id\""), "{shown}");
    }
}
