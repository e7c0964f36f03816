//! Rows of what several balancers share.

use super::super::access::bounded;
use super::super::access::{measured, one, optional, single};
use super::super::{Access, Setting};
use super::CLUSTER;
use crate::config::text::*;

pub const ROWS: &[Setting] = &[
    Setting {
        name: "store",
        value: "STORE",
        proxy: &["PROXY_LOAD_BALANCER_TYPE"],
        default: "memory",
        help: "Where origins and streams are remembered. memory: by this balancer alone. A Redis: by all balancers that \
               name it, which then work as one.\n\
               redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis+sentinel://HOST,HOST/SERVICE[/DB] or \
               redis+cluster://HOST,HOST; rediss instead of redis for TLS. PROXY_LOAD_BALANCER_TYPE=redis means what \
               PROXY_REDIS_HOST, _PORT, _PASSWORD and _DB say.",
        access: one!(settings.store, STORE),
        ..CLUSTER
    },
    Setting {
        name: "store_prefix",
        value: "TEXT",
        proxy: &["PROXY_REDIS_KEY_PREFIX"],
        default: "balancer",
        help: "Before the names of all keys and channels: balancers with another one work apart.",
        access: one!(settings.store_prefix, PREFIX),
        ..CLUSTER
    },
    Setting {
        name: "store_timeout",
        value: "DURATION",
        default: "250ms",
        within: Some(("10ms", "5s")),
        help: "How long the store may take to answer. What is carried never waits for it.",
        access: measured!(settings.store_timeout, DURATION),
        ..CLUSTER
    },
    Setting {
        name: "store_ca",
        value: "FILE",
        unset: "those that the host trusts",
        example: "/etc/balancer/tls/redis-ca.pem",
        help: "Certificates of those who vouch for the store's, PEM.",
        access: optional!(settings.store_ca, ABSOLUTE_PATH),
        ..CLUSTER
    },
    Setting {
        name: "balancer_id",
        value: "NAME",
        unset: "the host's name",
        example: "lb1",
        help: "This balancer's name among those that share a store. No two may have the same.",
        access: Access {
            is_list: false,
            set: |draft, _, texts| {
                draft.settings.balancer_id = single(&ID, texts)?;
                Ok(())
            },
            get: |draft| Some(draft.settings.balancer_id.clone()).filter(|id| !id.is_empty()).into_iter().collect(),
        },
        ..CLUSTER
    },
];
