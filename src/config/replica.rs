//! Which replica of the program this is, and the Lease by which several choose their leader.

use std::ffi::OsString;

use settings::{ConfigSection, quote};

/// The environment variables that the downward API sets for [`OwnPod`].
const POD_NAMESPACE: &str = "POD_NAMESPACE";
const POD_NAME: &str = "POD_NAME";

/// The Pod that the program runs in, as far as the environment names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

impl OwnPod {
    /// Reads `$POD_NAMESPACE` and `$POD_NAME`. An empty one is not there.
    pub(super) fn read(environment: &[(OsString, OsString)]) -> Self {
        let variable = |name| {
            let (_, value) = environment.iter().find(|(known, _)| known == name)?;
            value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
        };
        Self { namespace: variable(POD_NAMESPACE), name: variable(POD_NAME) }
    }
}

/// Where the Lease is by which replicas choose their leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl LeaseName {
    /// Reads the Lease's name. Its namespace is the Pod's.
    pub(super) fn read(section: &mut ConfigSection<'_>, own_pod: &OwnPod) -> Option<Self> {
        let expected = "the name of a Lease: at most 253 of a-z, 0-9, - and .";
        let name: String = section.get_or("lease", String::new(), expected);
        if name.is_empty() {
            return None;
        }
        let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = name.len() <= 253
            && name.bytes().all(|byte| is_inside(byte) || b"-.".contains(&byte))
            && name.bytes().next().is_some_and(is_inside)
            && name.bytes().last().is_some_and(is_inside);
        if !is_name {
            section.error("lease", format!("is {}", quote(&name)), expected);
            return None;
        }
        let Some(namespace) = own_pod.namespace.clone() else {
            section.error(
                "lease",
                format!("is {}, but ${POD_NAMESPACE} is not set", quote(&name)),
                format!("${POD_NAMESPACE}: the namespace of the Lease"),
            );
            return None;
        };
        Some(Self { namespace, name })
    }
}
