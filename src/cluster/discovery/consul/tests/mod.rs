//! The backend against an agent that plays by a script: what a real one does rarely, or never
//! should. What a real one does is in `tests/e2e`.

mod founding;
mod registration;
mod rig;
mod settings;
mod trouble;
mod watching;
