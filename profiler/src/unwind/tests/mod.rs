mod differential;
mod go;
mod machine;
mod mutation;
mod programs;
mod shapes;
