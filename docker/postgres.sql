-- What the database's container does once, on an empty volume: a role without any privilege but its own two databases.
\set password `cat /run/secrets/cowrie_password`
SELECT length(:'password') > 0 AS known \gset
\if :known
\else
DO $$ BEGIN
    RAISE 'the secret cowrie_password is empty or cannot be read: write it, chmod 644, remove the volume, start again';
END $$;
\endif

CREATE ROLE cowrie LOGIN PASSWORD :'password';
-- Text sorts as in the embedded server, and no index breaks when a newer image brings another C library.
CREATE DATABASE cowrie OWNER cowrie TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
CREATE DATABASE dagster OWNER cowrie TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
-- Nobody but their owner (and the superuser) has anything to do there.
REVOKE CONNECT ON DATABASE cowrie, dagster FROM PUBLIC;
