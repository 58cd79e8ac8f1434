pub mod profile;
pub mod report;
pub mod views;
