pub mod options;
pub mod privacy;
pub mod profile;
