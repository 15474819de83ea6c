//! The pages of the repository whose examples are compiled and run as tests of this crate.

macro_rules! pages {
    ($($name:ident = $path:literal;)*) => { $(#[doc = include_str!(concat!("../../", $path))] struct $name;)* };
}

pages! {
    AuditLog = "docs/audit_log.md";
    ClientReadme = "hsm-client/README.md";
    Fips = "docs/fips.md";
    Readme = "README.md";
}

#[cfg(feature = "remote")]
pages! {
    Remote = "docs/remote.md";
}

#[cfg(feature = "tpm")]
pages! {
    Tpm = "docs/tpm.md";
}
