-- Nobody is notified of anything.
DROP TABLE public.notifications;
