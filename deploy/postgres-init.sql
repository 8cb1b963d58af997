-- The ledger is in the database `callsheet`; Prefect has one of its own.
CREATE DATABASE prefect;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
