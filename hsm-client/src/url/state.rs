//! The folder of an HSM whose keys live in a TPM, where its URL names none.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use hsm_core::{Error, ErrorKind};

use super::TpmAddress;

impl TpmAddress {
    /// The folder that the URL names, or else the default one, which is called after the place of the TPM, such as
    /// `tpm-dev-tpmrm0`. It is in
    ///
    /// 1. the first folder of `STATE_DIRECTORY`, which systemd sets for a service with `StateDirectory=`;
    /// 2. else, for the user root, `/var/lib/hsm`;
    /// 3. else `$XDG_STATE_HOME/hsm`;
    /// 4. else `$HOME/.local/state/hsm`.
    ///
    /// Variables that hold no absolute path count as not set.
    ///
    /// ```
    /// use hsm_client::Url;
    ///
    /// let Url::Tpm(tpm) = "tpm:/dev/tpmrm0?folder=payments".parse()? else { panic!() };
    /// assert_eq!(tpm.folder_or_default()?, std::path::Path::new("payments"));
    /// # Ok::<(), hsm_client::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the URL names none, and none of the variables is set.
    pub fn folder_or_default(&self) -> Result<PathBuf, Error> {
        if let Some(folder) = self.folder() {
            return Ok(folder.to_owned());
        }
        let is_root = rustix::process::geteuid().is_root();
        Ok(state_folder(|name| std::env::var_os(name), is_root)?.join(self.folder_name()))
    }

    /// A name of its own for each place: slashes become hyphens, colons underscores, and what is neither a letter, a digit
    /// nor a dot is `%` and its number.
    fn folder_name(&self) -> String {
        let mut name = String::from("tpm");
        for byte in self.to_string().bytes() {
            match byte {
                b'/' => name.push('-'),
                b':' => name.push('_'),
                b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
                _ => write!(name, "%{byte:02X}").expect("a string takes what it is given"),
            }
        }
        name
    }
}

/// Where programs of this user keep what must last.
fn state_folder(
    variable: impl Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Result<PathBuf, Error> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let folder = |name: &str| variable(name).map(PathBuf::from).and_then(absolute);
    if let Some(folders) = variable("STATE_DIRECTORY")
        && let Some(first) = std::env::split_paths(&folders).next().and_then(absolute)
    {
        return Ok(first);
    }
    if is_root {
        return Ok("/var/lib/hsm".into());
    }
    folder("XDG_STATE_HOME")
        .or_else(|| Some(folder("HOME")?.join(".local/state")))
        .map(|state| state.join("hsm"))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "there is no default folder for the store of the HSM, as neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is an absolute path; name one: `tpm:PATH?folder=FOLDER`",
            )
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Url;
    use super::*;

    fn state(variables: &[(&str, &str)], is_root: bool) -> Result<PathBuf, Error> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        state_folder(|name| find(name).map(|(_, value)| value.into()), is_root)
    }

    #[test]
    fn the_service_comes_before_root_before_the_user() {
        let all = [
            ("STATE_DIRECTORY", "/var/lib/payments:/var/lib/other"),
            ("XDG_STATE_HOME", "/state"),
            ("HOME", "/home/alice"),
        ];
        for (variables, is_root, expected) in [
            (&all[..], true, "/var/lib/payments"),
            (&all[..], false, "/var/lib/payments"),
            (&all[1..], true, "/var/lib/hsm"),
            (&all[1..], false, "/state/hsm"),
            (&all[2..], false, "/home/alice/.local/state/hsm"),
            (&[], true, "/var/lib/hsm"),
        ] {
            let found = state(variables, is_root).unwrap();
            assert_eq!(found, Path::new(expected), "{variables:?} {is_root}");
        }
    }

    #[test]
    fn what_is_no_absolute_path_is_as_if_it_were_not_set() {
        let variables = [
            ("STATE_DIRECTORY", "relative:/var/lib/hsm"),
            ("XDG_STATE_HOME", ""),
            ("HOME", "/home/alice"),
        ];
        let found = state(&variables, false).unwrap();
        assert_eq!(found, Path::new("/home/alice/.local/state/hsm"));
        let error = state(&variables[..2], false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("?folder="), "{error}");
    }

    #[test]
    fn each_place_has_a_folder_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for (url, name) in [
            ("tpm:/dev/tpmrm0", "tpm-dev-tpmrm0"),
            ("tpm:/dev/tpm0", "tpm-dev-tpm0"),
            ("tpm:/dev/tpm-0", "tpm-dev-tpm%2D0"),
            ("tpm:/dev/tpm/0", "tpm-dev-tpm-0"),
            ("tpm:/dev/tpm_0", "tpm-dev-tpm%5F0"),
            ("tpm:/dev/tpm:0", "tpm-dev-tpm_0"),
            ("tpm:/dev/tpm%2D0", "tpm-dev-tpm%252D0"),
            ("tpm:/dev/ä", "tpm-dev-%C3%A4"),
            ("tpm://127.0.0.1:2321", "tpm--127.0.0.1_2321"),
            ("tpm://[::1]:2321", "tpm--%5B__1%5D_2321"),
        ] {
            let Url::Tpm(tpm) = url.parse().unwrap() else {
                panic!("{url}")
            };
            assert_eq!(tpm.folder_name(), name, "{url}");
            assert!(seen.insert(name), "{url}");
        }
    }
}
