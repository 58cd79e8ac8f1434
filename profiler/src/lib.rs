pub mod profile;
pub mod symbolize;
