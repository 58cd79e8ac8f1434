//! Questions to what runs on the host, asked as its clients ask them.

pub mod beside;
pub mod database;
pub mod http;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod servers;
pub mod tls;
pub mod vector;
pub mod window;
