pub mod profile;
pub mod report;
