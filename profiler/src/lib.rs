pub mod options;
pub mod output;
pub mod own_cost;
pub mod privacy;
pub mod profile;
pub mod progress;
pub mod session;
