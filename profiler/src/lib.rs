pub mod containers;
pub mod profile;
