//! What the fuzz targets share: a second reader of HTTP/1, and an Ostler between client and backend.

pub mod farm;
pub mod reader;
pub mod requests;
