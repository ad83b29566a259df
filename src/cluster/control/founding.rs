//! How a node becomes part of a cluster: it announces its session, and founds a cluster of one
//! where there is none.
//!
//! Key in the engine's meta space: `session`, how often the directory has been started (8 bytes,
//! most significant first).

use super::command::{ClusterId, Command, Found, NodeUp, Session};
use super::error::ControlError;
use super::{Control, ControlState};
use crate::cluster::version::Build;
use crate::model::{FOUNDING_DEPTH, Incarnation};
use crate::runtime::Chance;
use crate::store::{self, Batch, Durability, Engine, Space};

const SESSION_KEY: &[u8] = b"session";

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// What people call it.
    pub name: String,
    /// What fails together with it.
    pub zone: String,
    /// Where peers reach it.
    pub addresses: Vec<String>,
    /// Bytes it offers; 0: not said.
    pub capacity_bytes: u64,
    /// Which life of its data directory it is in.
    pub life: u32,
    /// Which program it runs.
    pub build: Build,
}

impl Introduction {
    /// What tells the cluster of a start.
    #[must_use]
    pub fn node_up(&self, incarnation: Incarnation, session: Session) -> Command {
        Command::NodeUp(NodeUp {
            name: self.name.clone(),
            incarnation,
            session,
            addresses: self.addresses.clone(),
            zone: self.zone.clone(),
            capacity_bytes: self.capacity_bytes,
            version: self.build.text.clone(),
            feature_level_max: self.build.feature_level,
            life: self.life,
        })
    }

    /// A program must understand what the cluster already uses.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_level(&self, state: &ControlState) -> Result<(), ControlError> {
        if state.feature_level <= self.build.feature_level {
            return Ok(());
        }
        Err(ControlError::TooOld {
            version: self.build.text.clone(),
            level: state.feature_level,
            understood: self.build.feature_level,
        })
    }
}

/// Founds a cluster of one if there is none, and announces this start.
///
/// # Errors
/// When the control log fails, or knows another node or a later start of this one.
pub fn join_or_found(
    control: &dyn Control,
    engine: &dyn Engine,
    incarnation: Incarnation,
    introduction: &Introduction,
    chance: &dyn Chance,
) -> Result<Session, ControlError> {
    let session = begin_session(engine, chance)?;
    if control.state().cluster.is_none() {
        let found = Found {
            cluster: ClusterId(chance.next_u128()),
            depth: FOUNDING_DEPTH,
            founders: vec![incarnation],
        };
        tracing::info!(cluster = %found.cluster, "founding a cluster of one");
        propose(control, &Command::Found(found))?;
    }
    let state = control.state();
    if !is_mine(&state, incarnation) {
        return Err(ControlError::Mixed(format!(
            "its control state knows other members than {incarnation}, which is what its identity file says: restore the file that belongs to it"
        )));
    }
    introduction.check_level(&state)?;
    propose(control, &introduction.node_up(incarnation, session))?;
    let level = introduction.build.feature_level;
    if control.state().feature_level < level {
        propose(control, &Command::FeatureLevel(level))?;
    }
    Ok(session)
}

/// On a single node everybody in the ring is this node.
fn is_mine(state: &ControlState, incarnation: Incarnation) -> bool {
    let mut members = state.partitions.values().flat_map(|p| &p.members);
    members.all(|member| member.incarnation == incarnation)
}

fn propose(control: &dyn Control, command: &Command) -> Result<(), ControlError> {
    let outcome = control.propose(command)?;
    outcome
        .into_result()
        .map_err(|refusal| ControlError::Refused {
            command: command.name(),
            refusal,
        })
}

/// Counts this start, durably, before anybody hears of it. Once in each start.
///
/// # Errors
/// When the engine fails.
pub fn begin_session(engine: &dyn Engine, chance: &dyn Chance) -> Result<Session, ControlError> {
    let before = match engine.get(Space::Meta, SESSION_KEY)? {
        None => 0,
        Some(bytes) => bytes
            .as_slice()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| store::Error::corrupt("the session counter", "it is not 8 bytes long"))?,
    };
    let starts = before.saturating_add(1);
    let mut batch = Batch::new();
    batch.put(Space::Meta, SESSION_KEY, &starts.to_be_bytes());
    engine.write(batch, Durability::Synced)?;
    Ok(Session {
        starts,
        nonce: chance.next_u128(),
    })
}
