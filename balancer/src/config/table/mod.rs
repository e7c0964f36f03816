//! Every setting, once: the flags and their help, the environment's names, the file's keys, `--print-config` and the
//! commented example are all made from the rows below.
//!
//! One name everywhere: `idle_timeout` in the file is `--idle-timeout` and `BALANCER_IDLE_TIMEOUT`.

mod access;
mod rows;

pub use access::Access;
pub use rows::SETTINGS;

use std::sync::LazyLock;

/// A heading in the help and in the example file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Network,
    Listening,
    SystemApi,
    Origins,
    DefaultOrigin,
    Health,
    Cluster,
    Limits,
    Process,
}

impl Group {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Listening => "Ports that clients dial",
            Self::SystemApi => "System API",
            Self::Origins => "Origins",
            Self::DefaultOrigin => "An origin that needs no registration",
            Self::Health => "Health of origins",
            Self::Cluster => "Several balancers",
            Self::Limits => "Limits",
            Self::Process => "Process",
        }
    }
}

#[derive(Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub group: Group,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// The SRS proxy's variables with the same meaning.
    pub proxy: &'static [&'static str],
    /// Empty: there is none, or the host says.
    pub default: &'static str,
    /// What an empty default means.
    pub unset: &'static str,
    /// For the example file, where there is no default to show.
    pub example: &'static str,
    /// The least and the greatest.
    pub within: Option<(&'static str, &'static str)>,
    pub choices: &'static [&'static str],
    pub secret: bool,
    /// The first paragraph is the short help.
    pub help: &'static str,
    pub access: Access,
}

impl Setting {
    pub fn is_list(&self) -> bool {
        self.access.is_list
    }

    pub fn flag(&self) -> &'static str {
        &self.names().flag
    }

    pub fn variable(&self) -> &'static str {
        &self.names().variable
    }

    fn names(&self) -> &'static Names {
        let index = SETTINGS.iter().position(|row| row.name == self.name);
        &NAMES[index.expect("a Setting is a row of the table")]
    }
}

pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|row| row.name == name)
}

/// Derived once, because clap wants names that live for ever.
struct Names {
    flag: String,
    variable: String,
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = |row: &Setting| Names {
        flag: row.name.replace('_', "-"),
        variable: format!("{VARIABLE_PREFIX}{}", row.name.to_ascii_uppercase()),
    };
    SETTINGS.iter().map(names).collect()
});

pub const VARIABLE_PREFIX: &str = "BALANCER_";
pub const PROXY_PREFIX: &str = "PROXY_";

/// Variables of the SRS proxy that are parts of its store; see `layers`.
pub const PROXY_STORE: &str = "PROXY_LOAD_BALANCER_TYPE";
pub const PROXY_REDIS: [&str; 4] = ["PROXY_REDIS_HOST", "PROXY_REDIS_PORT", "PROXY_REDIS_PASSWORD", "PROXY_REDIS_DB"];

#[cfg(test)]
mod tests;
