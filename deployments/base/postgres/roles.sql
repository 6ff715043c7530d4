-- Run by psql as superuser, once, when the database is made: the official image
-- does it for what lies in /docker-entrypoint-initdb.d. Passwords are read from
-- files, so that neither the environment nor a list of processes shows them.
\set ON_ERROR_STOP on
\set owner_password `cat "${SECRETS:-/run/secrets}/owner_password"`
\set writer_password `cat "${SECRETS:-/run/secrets}/writer_password"`
\set reader_password `cat "${SECRETS:-/run/secrets}/reader_password"`

-- The owner makes and changes the schema: init and migrate. The writer is the
-- services, the reader the api. A role that belongs to one of them has its rights.
CREATE ROLE bigbrotr_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE bigbrotr_writer LOGIN PASSWORD :'writer_password';
CREATE ROLE bigbrotr_reader LOGIN PASSWORD :'reader_password';

-- The owner of a database owns its schema public too.
ALTER DATABASE :DBNAME OWNER TO bigbrotr_owner;
REVOKE ALL ON DATABASE :DBNAME FROM PUBLIC;
GRANT CONNECT ON DATABASE :DBNAME TO bigbrotr_writer, bigbrotr_reader;

-- What the owner makes later, partitions above all, is at once what the others
-- need. Functions may be called by everybody and do only what the caller may.
GRANT USAGE ON SCHEMA public TO bigbrotr_writer, bigbrotr_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE bigbrotr_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bigbrotr_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE bigbrotr_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO bigbrotr_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE bigbrotr_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO bigbrotr_reader;

-- Limits belong to roles, because PgBouncer does not pass on what a client asks
-- for when it connects. A migration may take as long as it needs.
ALTER ROLE bigbrotr_writer SET statement_timeout = '5min';
ALTER ROLE bigbrotr_reader SET statement_timeout = '15s';
-- A transaction that does nothing keeps what is new from everybody who reads it
-- in order, and dead rows from being removed.
ALTER ROLE bigbrotr_owner SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE bigbrotr_writer SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE bigbrotr_reader SET idle_in_transaction_session_timeout = '30s';
-- The api writes nothing, whatever rights are given by mistake.
ALTER ROLE bigbrotr_reader SET default_transaction_read_only = on;
