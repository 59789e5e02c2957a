//! Who an instance is, for others to check: the identity document and its signature.
//!
//! The signature is a PKCS #7 SignedData as the service that we follow makes it: the content inside, no certificates, no
//! signed attributes. Key and certificate are this host's own: made at the first start, in the data directory, the key
//! for its owner's eyes only. Whoever checks signatures is given the certificate. What must stay true: the key stays
//! the same for as long as its file does; the certificate has the same issuer and serial number whenever it is made
//! again from the key.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, SerialNumber};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde::Serialize;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use tidemark_control::InstanceMetadata;
use yasna::models::ObjectIdentifier;
use yasna::{ASN1Result, DERWriterSeq, Tag};

/// The key's file in a data directory.
const KEY_FILE: &str = "metadata-identity.key";
/// The certificate's.
const CERTIFICATE_FILE: &str = "metadata-identity.pem";
/// Far above what either file has.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the certificate's serial number.
const SERIAL_BYTES: usize = 16;

/// Letters in a line of the signature: what readers of PEM expect.
const LINE_LETTERS: usize = 64;

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];

/// The nine facts that are signed, in this order.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    zone_id: &'a str,
    serial_number: &'a str,
    instance_id: &'a str,
    region_id: &'a str,
    private_ipv4: String,
    owner_account_id: &'a str,
    mac: &'a str,
    image_id: &'a str,
    instance_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
}

/// The document, compact; with an audience, that is its last member.
pub(super) fn document(own: &InstanceMetadata, audience: Option<&str>) -> String {
    let address = own.private_address.map(|address| address.to_string());
    let document = Document {
        zone_id: &own.zone_id,
        serial_number: &own.serial_number,
        instance_id: &own.instance_id,
        region_id: &own.region_id,
        private_ipv4: address.unwrap_or_default(),
        owner_account_id: &own.owner_account_id,
        mac: &own.mac,
        image_id: &own.image_id,
        instance_type: &own.instance_type,
        audience,
    };
    // Texts alone: nothing in it can fail to be written.
    serde_json::to_string(&document).unwrap_or_default()
}

/// Signs documents.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// As in the certificate, in DER.
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl Signer {
    /// Reads key and certificate below `data_dir`, or makes what is missing.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let (key_path, certificate_path) = (data_dir.join(KEY_FILE), data_dir.join(CERTIFICATE_FILE));
        let key = match read_private(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|error| wrong(&key_path, error))?,
            None => {
                let key = KeyPair::generate().map_err(|error| wrong(&key_path, error))?;
                // That of a key that is lost: nothing signed from now on would verify with it.
                match std::fs::remove_file(&certificate_path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                write_whole(&key_path, &key.serialize_pem(), 0o600)?;
                key
            }
        };
        let made = certificate(&key).map_err(|error| wrong(&certificate_path, error))?;
        if !certificate_path.exists() {
            write_whole(&certificate_path, &made.pem(), 0o644)?;
        }
        let (issuer, serial) =
            issuer_and_serial(made.der()).map_err(|error| wrong(&certificate_path, error))?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der(), &random)
            .map_err(|error| wrong(&key_path, error))?;
        Ok(Self {
            key,
            random,
            issuer,
            serial,
        })
    }

    /// The signed document in base64, without lines around it.
    pub(super) fn pkcs7(&self, content: &[u8]) -> io::Result<String> {
        let signature = self
            .key
            .sign(&self.random, content)
            .map_err(|_| io::Error::other("the identity document cannot be signed"))?;
        let der = self.signed_data(content, signature.as_ref());
        let text = data_encoding::BASE64.encode(&der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(LINE_LETTERS)
            .map(|line| std::str::from_utf8(line).unwrap_or_default())
            .collect();
        Ok(lines.join("\n"))
    }

    /// RFC 2315, 9.1 and 9.2.
    fn signed_data(&self, content: &[u8], signature: &[u8]) -> Vec<u8> {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&oid(SIGNED_DATA));
                writer.next().write_tagged(Tag::context(0), |writer| {
                    writer.write_sequence(|writer| {
                        writer.next().write_u8(1);
                        writer.next().write_set(|writer| {
                            writer.next().write_sequence(|writer| algorithm(writer, SHA256));
                        });
                        writer.next().write_sequence(|writer| {
                            writer.next().write_oid(&oid(DATA));
                            writer
                                .next()
                                .write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
                        });
                        writer.next().write_set(|writer| {
                            writer
                                .next()
                                .write_sequence(|writer| self.signer_info(writer, signature));
                        });
                    });
                });
            });
        })
    }

    fn signer_info(&self, writer: &mut DERWriterSeq<'_>, signature: &[u8]) {
        writer.next().write_u8(1);
        writer.next().write_sequence(|writer| {
            writer.next().write_der(&self.issuer);
            writer.next().write_der(&self.serial);
        });
        writer.next().write_sequence(|writer| algorithm(writer, SHA256));
        writer
            .next()
            .write_sequence(|writer| algorithm(writer, ECDSA_WITH_SHA256));
        writer.next().write_bytes(signature);
    }
}

fn oid(numbers: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(numbers)
}

/// One without parameters.
fn algorithm(writer: &mut DERWriterSeq<'_>, numbers: &[u64]) {
    writer.next().write_oid(&oid(numbers));
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {why}", path.display()))
}

/// The key's certificate: what is in it that a signature names follows from the key alone.
fn certificate(key: &KeyPair) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut serial = digest::digest(&digest::SHA256, key.public_key_raw()).as_ref()[..SERIAL_BYTES].to_vec();
    // A positive number of as many bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Tidemark instance identity");
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.self_signed(key)
}

/// What names a certificate, each as it stands in it.
fn issuer_and_serial(certificate: &[u8]) -> ASN1Result<(Vec<u8>, Vec<u8>)> {
    let body = yasna::parse_der(certificate, |reader| {
        reader.read_sequence(|reader| {
            let body = reader.next().read_der()?;
            let _algorithm = reader.next().read_der()?;
            let _signature = reader.next().read_der()?;
            Ok(body)
        })
    })?;
    yasna::parse_der(&body, |reader| {
        reader.read_sequence(|reader| {
            let _version = reader.next().read_der()?;
            let serial = reader.next().read_der()?;
            let _algorithm = reader.next().read_der()?;
            let issuer = reader.next().read_der()?;
            // Validity, subject and key; then, if there are any, extensions.
            for _ in 0..3 {
                reader.next().read_der()?;
            }
            reader.read_optional(|reader| reader.read_der())?;
            Ok((issuer, serial))
        })
    })
}

/// A file that only its owner may read; `None`: there is none.
fn read_private(path: &Path) -> io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, error)),
    };
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("others can read the key (mode {:o}); chmod 600 it", mode & 0o777);
        return Err(wrong(path, why));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| wrong(path, error))?;
    Ok(Some(text))
}

/// Whole or not at all.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(&temporary, error)),
        _ => {}
    }
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => std::fs::File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|error| wrong(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_ASN1, KeyPair as _, UnparsedPublicKey};

    fn own() -> InstanceMetadata {
        InstanceMetadata {
            instance_id: "i-1".into(),
            zone_id: "z".into(),
            private_address: Some(std::net::Ipv4Addr::new(10, 0, 0, 1)),
            ..InstanceMetadata::default()
        }
    }

    #[test]
    fn the_document_has_nine_members_in_their_order() {
        let text = document(&own(), None);
        assert_eq!(
            text,
            concat!(
                r#"{"zone-id":"z","serial-number":"","instance-id":"i-1","region-id":"","private-ipv4":"10.0.0.1","#,
                r#""owner-account-id":"","mac":"","image-id":"","instance-type":""}"#
            )
        );
        let said = document(&own(), Some("a\"b"));
        let last = r#","audience":"a\"b"}"#;
        assert_eq!(said, text.strip_suffix('}').expect("an object").to_owned() + last);
    }

    #[test]
    fn what_is_signed_is_inside_and_the_signature_is_the_keys() {
        let dir = tempfile::tempdir().expect("temp dir");
        let signer = Signer::open(dir.path()).expect("made");
        let text = signer.pkcs7(b"content").expect("signed");
        assert!(
            text.lines().all(|line| line.len() <= 64) && !text.ends_with('\n'),
            "{text}"
        );
        let der = data_encoding::BASE64
            .decode(text.replace('\n', "").as_bytes())
            .expect("base64");
        let inside = |needle: &[u8]| der.windows(needle.len()).any(|window| window == needle);
        assert!(inside(b"content") && inside(&signer.serial) && inside(&signer.issuer));
        let signature = signer.key.sign(&signer.random, b"content").expect("signed");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.key.public_key().as_ref());
        public
            .verify(b"content", signature.as_ref())
            .expect("its own signature");
    }

    #[test]
    fn the_key_is_private_and_stays_and_so_does_what_names_the_certificate() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = Signer::open(dir.path()).expect("made");
        let key = dir.path().join(KEY_FILE);
        let mode = std::fs::metadata(&key).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(dir.path().join(CERTIFICATE_FILE)).expect("was there");
        let second = Signer::open(dir.path()).expect("read");
        assert_eq!((&second.issuer, &second.serial), (&first.issuer, &first.serial));
        assert_eq!(second.key.public_key().as_ref(), first.key.public_key().as_ref());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("set");
        let error = Signer::open(dir.path()).err().expect("refused").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
