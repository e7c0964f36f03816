//! The rows. Defaults are those of the SRS documentation's quick start where it has one.

mod cluster;
mod health;
mod limits;
mod network;
mod origins;

use super::access::{one, single};
use super::{Access, Group, Setting};
use crate::config::text::*;

/// What most rows leave as it is. `access` is always replaced; it is here because a struct update needs one.
const ROW: Setting = Setting {
    name: "",
    group: Group::Process,
    value: "",
    proxy: &[],
    default: "",
    unset: "",
    example: "",
    within: None,
    choices: &[],
    secret: false,
    help: "",
    access: one!(settings.log_level, LOG_LEVEL),
};

const NETWORK_ROW: Setting = Setting { group: Group::Network, ..ROW };
const LISTENING: Setting = Setting { group: Group::Listening, value: "LISTEN", ..ROW };
const SYSTEM_API: Setting = Setting { group: Group::SystemApi, ..ROW };
const ORIGINS: Setting = Setting { group: Group::Origins, ..ROW };
const DEFAULT_ORIGIN: Setting = Setting { group: Group::DefaultOrigin, value: "PORT", ..ROW };
const HEALTH: Setting = Setting { group: Group::Health, ..ROW };
const CLUSTER: Setting = Setting { group: Group::Cluster, ..ROW };
const LIMITS: Setting = Setting { group: Group::Limits, ..ROW };

pub static SETTINGS: &[Setting] = &joined::<ROW_COUNT>();

const ROW_COUNT: usize =
    network::ROWS.len() + origins::ROWS.len() + health::ROWS.len() + cluster::ROWS.len() + limits::ROWS.len();

const fn joined<const N: usize>() -> [Setting; N] {
    let parts = [network::ROWS, origins::ROWS, health::ROWS, cluster::ROWS, limits::ROWS];
    let mut rows = [ROW; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            rows[at] = parts[part][i];
            (at, i) = (at + 1, i + 1);
        }
        part += 1;
    }
    rows
}
