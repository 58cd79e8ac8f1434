//! Questions to what runs on the host, asked as its clients ask them.

pub mod database;
pub mod http;
pub mod postgres;
pub mod redis;
